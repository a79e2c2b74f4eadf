//! Writes a model folder in int8 or in 4 bits: see `docs/model-format.md`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::canonical;
use super::output::{Partial, Planned, TensorFile};
use super::quantized::{Cost, Quantized};
use mobilebert::format::{Checkpoint, Tensor, WeightSource, sha256};
use mobilebert::graph::{Graph, Node, ParameterId};
use mobilebert::model::Weights;
use mobilebert::pipeline::sentence_files;
use mobilebert::quant::{Bits, Deviation, Scales};
use mobilebert::text::TOKENIZER_FILES;
use mobilebert::{ErrorKind, ModelConfig, ModelFiles, Result};

/// Options that say how weights become int8, and what they are stored as.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Int8Options {
    bits: Bits,
    keep_int8: Vec<String>,
    keep_f32: Vec<String>,
    scales: Scales,
    force: bool,
}

impl Int8Options {
    /// Makes options that quantise everything that can be to int8, without clipping.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the bits of a stored weight. Weights of 4 bits are expanded to int8 exactly when they are loaded.
    pub fn bits(mut self, bits: Bits) -> Self {
        self.bits = bits;
        self
    }

    /// Leaves the modules whose path begins with one of these in int8 if the others are in 4 bits.
    pub fn keep_int8<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_int8 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves the modules whose path begins with one of these in f32, such as `encoder.layer.0.`.
    pub fn keep_f32<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_f32 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Chooses how the scales of int8 are found. The scales of 4 bits are always those of least error.
    pub fn scales(mut self, scales: Scales) -> Self {
        self.scales = scales;
        self
    }

    /// Allows to replace a model folder that stands at the destination. Default: such a folder is an error.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// The result of a quantisation.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Int8Report {
    /// The number of tensors now in int8 or in 4 bits.
    pub quantized_tensors: usize,
    /// The number of those that are in 4 bits.
    pub int4_tensors: usize,
    /// The number of tensors kept in f32: biases, norms, output layers and those of modules that stay in f32.
    pub f32_tensors: usize,
    /// The size of the written `model.safetensors`.
    pub bytes: u64,
    /// The tensors that have rows and columns to quantise, whether quantised or kept.
    #[serde(skip)]
    pub tensors: Vec<TensorError>,
}

/// The stored form of a tensor, and how far it is from the source.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct TensorError {
    /// The name of the tensor in the checkpoint.
    pub name: String,
    /// The precision: `int4`, `int8`, or `f32` if its module stays in f32.
    pub stored: &'static str,
    /// The numbers of rows and columns.
    pub shape: Vec<usize>,
    /// The number of bytes of the values, their scales and multipliers.
    pub bytes: usize,
    /// The number of rows whose largest values are clipped.
    pub clipped_rows: usize,
    /// The difference from the source; see [`Deviation`].
    #[serde(skip)]
    pub deviation: Deviation,
}

/// Quantises the weights of a model folder and writes a new folder that every part of this crate opens like
/// the original. The destination must not exist; it appears only when it is complete.
///
/// # Errors
/// Returns the errors of opening the source, and [`ErrorKind::Io`] or [`ErrorKind::Input`] for the folder.
pub fn to_int8(source: &ModelFiles, destination: &Path) -> Result<Int8Report> {
    to_int8_with(source, destination, &Int8Options::new())
}

/// Quantises like [`to_int8`], with options.
///
/// # Errors
/// Returns the errors of [`to_int8`], and [`ErrorKind::Input`] for 4 bits if the source has them already.
pub fn to_int8_with(source: &ModelFiles, destination: &Path, options: &Int8Options) -> Result<Int8Report> {
    to_int8_watched(source, destination, options, &|_, _| {})
}

/// Is told how many tensors of a model are quantised, and how many there are.
pub type TensorProgress<'p> = &'p dyn Fn(usize, usize);

/// Quantises like [`to_int8_with`], and tells `progress` of each tensor. If `progress` unwinds, the
/// unfinished folder is removed.
///
/// # Errors
/// Returns the errors of [`to_int8_with`].
pub fn to_int8_watched(
    source: &ModelFiles,
    destination: &Path,
    options: &Int8Options,
    progress: TensorProgress<'_>,
) -> Result<Int8Report> {
    super::output::check_destination(destination, folder_of(source), options.force)?;
    let partial = Partial::create(destination)?;
    let report = write_int8(source, &partial, options, progress)?;
    partial.rename(destination, options.force)?;
    Ok(report)
}

/// Returns the folder of a model that is in one.
pub(crate) fn folder_of(files: &ModelFiles) -> Option<&Path> {
    match files {
        ModelFiles::Folder(folder) => Some(folder),
        _ => None,
    }
}

/// Writes all files of the int8 model into a folder under construction. Beside the mapped source, only the
/// quantised tensors are in memory.
pub(crate) fn write_int8(
    source: &ModelFiles,
    partial: &Partial,
    options: &Int8Options,
    progress: TensorProgress<'_>,
) -> Result<Int8Report> {
    let config_text = source.config_json()?;
    let mut config = ModelConfig::from_json(&config_text)?;
    let head = config.head;
    let (graph, weights) = Weights::open(source.checkpoint()?, &mut config, head)?;
    let mut options = options.clone();
    if let Some(quantization) = &config.quantization {
        let refuse = |problem: String| Err(ErrorKind::Input { place: source.label(), problem }.into());
        // To 8 bits, 4 are expanded exactly.
        if options.bits == Bits::Four && quantization.bits == 4 {
            return refuse("is in 4 bits already; quantise the model that it was made from".to_owned());
        }
        if options.scales != Scales::Max {
            let scales = options.scales.name();
            return refuse(format!(
                "is quantised already, and the scales `{scales}` are found from floats; quantise the model that it \
                 was made from"
            ));
        }
        // Modules that the source keeps in f32 stay in f32.
        options.keep_f32.splice(..0, quantization.keep_f32.iter().cloned());
    }
    options.keep_f32.dedup();
    let kept_f32 = parameters_of(&graph, &options.keep_f32);
    let kept_int8 = parameters_of(&graph, &options.keep_int8);

    let mut parts: Vec<(Planned, Data)> = Vec::new();
    let mut tensors = Vec::new();
    let (mut quantized_tensors, mut int4_tensors, mut f32_tensors) = (0, 0, 0);
    for (i, parameter) in graph.parameters.iter().enumerate() {
        let id = ParameterId(i);
        let bits = match id {
            id if !parameter.quantizable || kept_f32.contains(&id) => None,
            id if kept_int8.contains(&id) => Some(Bits::Eight),
            _ => Some(options.bits),
        };
        let columns = parameter.shape.last().copied().unwrap_or(1);
        let name = canonical::name(&config, &parameter.name);
        let tensor = weights.tensor(id)?;
        match &tensor {
            Tensor::F32(values) => canonical::check_finite(&name, values)?,
            Tensor::Int8 { scales, .. } => canonical::check_finite(&name, scales)?,
        }
        let (found, cost) = Quantized::new(tensor, columns, bits, options.scales);
        match found {
            Quantized::F32 => f32_tensors += 1,
            Quantized::Int8 { .. } => quantized_tensors += 1,
            Quantized::Int4(_) => {
                (quantized_tensors, int4_tensors) = (quantized_tensors + 1, int4_tensors + 1)
            }
        }
        let is_f32 = matches!(found, Quantized::F32);
        let stored = found.name();
        let found = found.into_parts(&name, &parameter.shape);
        if parameter.quantizable || !is_f32 {
            let (shape, bytes) =
                (parameter.shape.clone(), found.iter().map(|(planned, _)| planned.bytes).sum());
            let Cost { clipped_rows, deviation } = cost;
            tensors.push(TensorError { name, stored, shape, bytes, clipped_rows, deviation });
        }
        parts.extend(
            found.into_iter().map(|(planned, bytes)| (planned, bytes.map_or(Data::Floats(id), Data::Bytes))),
        );
        progress(i + 1, graph.parameters.len());
    }

    let path = partial.folder.join("model.safetensors");
    let bytes = write_tensors(parts, &weights, path)?;
    let config = with_quantization(&config_text, &options)?;
    partial.write("config.json", config.as_bytes())?;
    for name in TOKENIZER_FILES {
        if let Some(bytes) = source.read(name)? {
            partial.write(name, &bytes)?;
        }
    }
    for (name, bytes) in sentence_files(&|name| Ok(source.read(name)?.map(|bytes| bytes.into_owned())))? {
        partial.write(&name, &bytes)?;
    }
    write_self_check(partial, &options)?;
    Ok(Int8Report { quantized_tensors, int4_tensors, f32_tensors, bytes, tensors })
}

/// The file by which a server finds out that a model computes what it should.
const SELF_CHECK: &str = "self-check.json";

/// Runs the written model, and writes the hash of what it computes, unless modules in f32 make that differ
/// from machine to machine.
fn write_self_check(partial: &Partial, options: &Int8Options) -> Result<()> {
    let hash = super::check_logits(&partial.folder)?;
    match options.keep_f32.is_empty() {
        true => partial.write(SELF_CHECK, json!({ "logits_sha256": hash }).to_string().as_bytes()),
        false => Ok(()),
    }
}

/// Returns the parameters of the modules whose path begins with one of these prefixes.
fn parameters_of(graph: &Graph, prefixes: &[String]) -> Vec<ParameterId> {
    let is_meant = |node: &&Node| prefixes.iter().any(|prefix| node.name.starts_with(prefix.as_str()));
    graph.nodes.iter().filter(is_meant).flat_map(|node| node.op.parameters()).collect()
}

/// The origin of a tensor's data.
enum Data {
    Floats(ParameterId),
    Bytes(Vec<u8>),
}

/// Writes floats, then int8, then 4 bits, each sorted by name, so that everything is aligned.
fn write_tensors(mut parts: Vec<(Planned, Data)>, weights: &Weights, path: PathBuf) -> Result<u64> {
    let place = |dtype: &str| ["F32", "I8", "U8"].iter().position(|d| *d == dtype);
    parts.sort_by(|(a, _), (b, _)| (place(a.dtype), &a.name).cmp(&(place(b.dtype), &b.name)));
    let (plan, data): (Vec<Planned>, Vec<Data>) = parts.into_iter().unzip();
    let metadata = json!({
        "format": "pt",
        "source_sha256": source_sha256(weights.checkpoint()),
        "mobilebert_version": env!("CARGO_PKG_VERSION"),
    });
    let mut file = TensorFile::create(path, plan, &metadata)?;
    for data in data {
        match data {
            Data::Floats(id) => file.write(&canonical::le_bytes(&weights.tensor(id)?.into_f32()))?,
            Data::Bytes(bytes) => file.write(&bytes)?,
        }
    }
    file.finish()
}

/// Returns the digest of the weight files, one after the other in the order of their names.
fn source_sha256(checkpoint: &Checkpoint) -> String {
    let mut files: Vec<_> = checkpoint.files().collect();
    files.sort_unstable_by_key(|(label, _)| *label);
    sha256(files.into_iter().map(|(_, bytes)| bytes))
}

fn with_quantization(config: &str, options: &Int8Options) -> Result<String> {
    let json_error = |source| ErrorKind::Json { file: "config.json".into(), source };
    let mut config: Value = serde_json::from_str(config).map_err(json_error)?;
    let of_source = config["quantization_config"]["scales"].clone();
    let mut quantization = canonical::quantization(options.bits);
    // Tensors that are in int8 already are copied, with the scales that they have.
    if options.bits == Bits::Eight && !of_source.is_null() {
        quantization["scales"] = of_source;
    }
    // Fields that are as in the plain form are left out, so that plain folders stay the same, byte by byte.
    if options.scales != Scales::Max {
        quantization["scales"] = options.scales.name().into();
    }
    if !options.keep_f32.is_empty() {
        quantization["keep_f32"] = options.keep_f32.clone().into();
    }
    if options.bits == Bits::Four && !options.keep_int8.is_empty() {
        quantization["keep_int8"] = options.keep_int8.clone().into();
    }
    config["quantization_config"] = quantization;
    config.as_object_mut().map(|map| map.remove("dtype"));
    Ok(serde_json::to_string_pretty(&config).map_err(json_error)? + "\n")
}
