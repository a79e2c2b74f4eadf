//! FOREIGN -> OURS: models of other frameworks in, folders in Hugging Face's layout out; and their int8 form.
//!
//! Whatever the source, the same weights become the same tensors: see [`content_hash`].

mod attached;
mod attention;
mod canonical;
mod constants;
mod flow;
mod formulas;
mod graph_file;
mod hugging_face;
mod infer;
mod int8;
mod onnx;
mod output;
mod quantized;
mod recognise;
mod source;
mod stored;
mod tensorflow;
mod tflite;
mod topology;
mod verify;

use std::path::{Path, PathBuf};

use serde_json::json;

use canonical::ContentHash;
#[cfg(feature = "candle")]
use mobilebert::ModelConfig;
#[cfg(feature = "candle")]
use mobilebert::ModelFiles;
use mobilebert::Result;
#[cfg(feature = "candle")]
use mobilebert::format::WeightSource;
use mobilebert::format::{Bytes, Tensor};
#[cfg(feature = "candle")]
use mobilebert::graph::Graph;
use mobilebert::graph::{Parameter, ParameterId};
#[cfg(feature = "candle")]
use mobilebert::text::TOKENIZER_FILES;
pub(crate) use output::Partial;
use output::{Planned, TensorFile};
use source::Source;

pub use canonical::content_hash;
pub(crate) use int8::write_int8;
pub use int8::{Int8Options, Int8Report, TensorError, to_int8, to_int8_with};
pub(crate) use output::check_destination;
pub use source::SourceFormat;
pub use verify::{Verification, VerifiedLayer};

/// How to convert.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ConvertOptions {
    force: bool,
    verify: bool,
    config: Option<PathBuf>,
    vocab: Option<PathBuf>,
}

impl ConvertOptions {
    /// Neither verified, nor over an existing folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a model folder that stands at the destination.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Runs the source and the written folder and compares them, before the folder is put in its place.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Takes the configuration from this file instead of the one beside the weights.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// Takes the vocabulary (`vocab.txt`) from this file instead of the one beside the weights.
    pub fn vocab(mut self, file: impl Into<PathBuf>) -> Self {
        self.vocab = Some(file.into());
        self
    }
}

/// What a conversion read and wrote.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ConvertReport {
    /// What the source was recognised as.
    pub format: SourceFormat,
    /// Hugging Face's class of the model.
    pub class: String,
    /// Tensors written.
    pub tensors: usize,
    /// Size of the written `model.safetensors`.
    pub bytes: u64,
    /// See [`content_hash`].
    pub content_sha256: String,
    /// What the reader should know: what was left out, inferred or found folded.
    pub notes: Vec<String>,
    /// The comparison, if it was asked for.
    pub verification: Option<Verification>,
}

/// Bytes of tensors written, and of all.
pub type Progress<'p> = &'p dyn Fn(u64, u64);

/// Converts the model at `source` into a new folder in Hugging Face's layout. Besides all that [`mobilebert::ModelFiles::resolve`]
/// finds, `source` may be a weight file, or a folder with one, of the formats of [`SourceFormat`], recognised by content.
///
/// Floats are written as f32, our own int8 weights as they are, those of 4 bits in int8. The destination appears only when it is complete. At most
/// one tensor is in memory at a time, beside the mapped source.
///
/// # Errors
/// Those of opening the source; [`mobilebert::ErrorKind::Conversion`] with the place, the module, what was expected, found, and
/// what to try; [`mobilebert::ErrorKind::Input`] if the destination exists; [`mobilebert::ErrorKind::Verification`].
///
/// ```no_run
/// use mobilebert_tools::convert::{self, ConvertOptions};
///
/// let options = ConvertOptions::new().verify(true);
/// let report = convert::convert("bert_model.ckpt", "my-model".as_ref(), &options, &|_, _| {})?;
/// println!("{}", report.content_sha256);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn convert(
    source: &str,
    destination: &Path,
    options: &ConvertOptions,
    progress: Progress<'_>,
) -> Result<ConvertReport> {
    let found = recognise::find(source)?;
    output::check_destination(destination, found.path(), options.force)?;
    let mut notes = Vec::new();
    let tokenizer = source::tokenizer_files(&found, options, &mut notes)?;
    let source = found.open(options, &mut notes)?;

    let partial = Partial::create(destination)?;
    let written = write_weights(&source, &partial.folder.join("model.safetensors"), progress)?;
    partial.write("config.json", canonical::config_json(&source.config, &source.original)?.as_bytes())?;
    for (name, bytes) in &tokenizer {
        partial.write(name, bytes)?;
    }
    let verification = match options.verify {
        true => Some(verify::verify(&source, found.read(verify::EXPECTED)?.as_deref(), &partial.folder)?),
        false => None,
    };
    let report = ConvertReport {
        format: found.format,
        class: source.config.class_name(),
        tensors: written.tensors,
        bytes: written.bytes,
        content_sha256: written.hash,
        notes,
        verification,
    };
    // Maps of the source are closed first: it may be the folder that is replaced.
    drop(source);
    partial.rename(destination)?;
    Ok(report)
}

/// Writes other weights for the model of `files`, as f32, with its configuration and its tokenizer into a folder under
/// construction.
#[cfg(feature = "candle")]
pub(crate) fn write_f32(
    files: &ModelFiles,
    graph: Graph,
    weights: Box<dyn WeightSource>,
    partial: &Partial,
) -> Result<()> {
    let text = files.config_json()?;
    let mut config = ModelConfig::from_json(&text)?;
    config.quantization = None;
    let original = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|source| mobilebert::ErrorKind::Json { file: "config.json".into(), source })?;
    let source = Source { config, original, graph, weights, extra: Vec::new(), approximate: false };
    write_weights(&source, &partial.folder.join("model.safetensors"), &|_, _| {})?;
    partial.write("config.json", canonical::config_json(&source.config, &source.original)?.as_bytes())?;
    for name in TOKENIZER_FILES {
        if let Some(bytes) = files.read(name)? {
            partial.write(name, &bytes)?;
        }
    }
    Ok(())
}

/// The content hash of a model that is an ONNX or LiteRT graph in memory, with the configuration that the graph implies:
/// what [`convert`] would print for the file. `label` names it in errors.
///
/// # Errors
/// As [`convert`].
pub fn graph_content_hash(label: &str, bytes: Vec<u8>) -> Result<String> {
    let bytes = Bytes::Owned(bytes);
    let flow = match crate::foreign::tflite::is_tflite(&bytes) {
        true => graph_file::tflite(label, bytes)?,
        false => graph_file::onnx(label, bytes, None)?,
    };
    let source = graph_file::open(flow, None, None, &mut Vec::new())?;
    content_hash(&source.config, &source.graph, &*source.weights)
}

struct Written {
    tensors: usize,
    bytes: u64,
    hash: String,
}

/// Writes floats sorted by name, then int8 tensors, so that everything is aligned.
fn write_weights(source: &Source, path: &Path, progress: Progress<'_>) -> Result<Written> {
    let Source { config, graph, weights, extra, .. } = source;
    let of_graph = graph.parameters.len();
    let parameters: Vec<&Parameter> = graph.parameters.iter().chain(extra).collect();
    let mut plan: Vec<(Part, Planned)> = Vec::new();
    for (i, parameter) in parameters.iter().enumerate() {
        let name = canonical::name(config, &parameter.name);
        let (shape, elements) = (parameter.shape.clone(), parameter.shape.iter().product::<usize>());
        if config.quantization.is_some()
            && let Tensor::Int8 { scales, .. } = weights.tensor(ParameterId(i))?
        {
            let scale = Planned {
                name: canonical::scale_name(&name),
                dtype: "F32",
                shape: vec![scales.len()],
                bytes: 4 * scales.len(),
            };
            plan.push((Part::Scales(i), scale));
            plan.push((Part::Int8(i), Planned { name, dtype: "I8", shape, bytes: elements }));
        } else {
            plan.push((Part::Float(i), Planned { name, dtype: "F32", shape, bytes: 4 * elements }));
        }
    }
    plan.sort_by(|(_, a), (_, b)| (a.dtype == "I8", &a.name).cmp(&(b.dtype == "I8", &b.name)));
    let parts: Vec<Part> = plan.iter().map(|(part, _)| *part).collect();
    let plan: Vec<Planned> = plan.into_iter().map(|(_, planned)| planned).collect();
    let names: Vec<(String, &str, Vec<usize>)> =
        plan.iter().map(|p| (p.name.clone(), p.dtype, p.shape.clone())).collect();
    let total = plan.iter().map(|p| p.bytes as u64).sum();

    let metadata = json!({ "format": "pt", "mobilebert_version": env!("CARGO_PKG_VERSION") });
    let mut file = TensorFile::create(path.to_owned(), plan, &metadata)?;
    let mut hash = ContentHash::default();
    let mut done = 0;
    for (part, (name, dtype, shape)) in parts.iter().zip(&names) {
        let tensor = weights.tensor(part.parameter())?;
        let bytes = match (part, &tensor) {
            (Part::Float(_), Tensor::F32(values)) => canonical::le_bytes(values),
            (Part::Scales(_), Tensor::Int8 { scales, .. }) => canonical::le_bytes(scales),
            (_, Tensor::Int8 { values, .. }) => bytemuck::cast_slice(values).into(),
            (_, Tensor::F32(values)) => canonical::le_bytes(values),
        };
        file.write(&bytes)?;
        if part.parameter().0 < of_graph {
            hash.add(name, dtype, shape, &bytes);
        }
        done += bytes.len() as u64;
        progress(done, total);
    }
    Ok(Written { tensors: names.len(), bytes: file.finish()?, hash: hash.finish() })
}

/// What of which parameter a written tensor is.
#[derive(Clone, Copy)]
enum Part {
    Float(usize),
    Scales(usize),
    Int8(usize),
}

impl Part {
    fn parameter(self) -> ParameterId {
        let (Part::Float(i) | Part::Scales(i) | Part::Int8(i)) = self;
        ParameterId(i)
    }
}
