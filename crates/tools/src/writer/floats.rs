//! Writes the weights of a model as floats, whatever they were read from.

use std::path::Path;

use serde_json::json;

use super::canonical::{self, ContentHash};
use super::output::{Planned, TensorFile};
use super::{RawModel, WriteProgress};
use mobilebert::Result;
use mobilebert::format::Tensor;
use mobilebert::graph::{Parameter, ParameterId};
#[cfg(feature = "candle")]
use {
    super::Partial,
    mobilebert::format::WeightSource,
    mobilebert::graph::Graph,
    mobilebert::pipeline::sentence_files,
    mobilebert::text::TOKENIZER_FILES,
    mobilebert::{Head, ModelConfig, ModelFiles},
};

/// Writes other weights for the model of `files` as f32, with its configuration, this head and its tokenizer,
/// into a folder under construction.
#[cfg(feature = "candle")]
pub(crate) fn write_f32(
    files: &ModelFiles,
    head: Head,
    graph: Graph,
    weights: Box<dyn WeightSource>,
    partial: &Partial,
) -> Result<()> {
    let text = files.config_json()?;
    let mut config = ModelConfig::from_json(&text)?;
    (config.quantization, config.head) = (None, head);
    let original = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|source| mobilebert::ErrorKind::Json { file: "config.json".into(), source })?;
    let model = RawModel { config, original, graph, weights, extra: Vec::new(), approximate: false };
    write_weights(&model, &partial.folder.join("model.safetensors"), &|_, _| {})?;
    partial.write("config.json", canonical::config_json(&model.config, &model.original)?.as_bytes())?;
    for name in TOKENIZER_FILES {
        if let Some(bytes) = files.read(name)? {
            partial.write(name, &bytes)?;
        }
    }
    for (name, bytes) in sentence_files(&|name| Ok(files.read(name)?.map(|bytes| bytes.into_owned())))? {
        partial.write(&name, &bytes)?;
    }
    Ok(())
}

/// The result of [`write_weights`].
pub(crate) struct Written {
    pub(crate) tensors: usize,
    pub(crate) bytes: u64,
    /// The content hash.
    pub(crate) hash: String,
}

/// Writes floats sorted by name, then int8 tensors, so that everything is aligned.
pub(crate) fn write_weights(model: &RawModel, path: &Path, progress: WriteProgress<'_>) -> Result<Written> {
    let RawModel { config, graph, weights, extra, .. } = model;
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
        match &tensor {
            Tensor::F32(values) => canonical::check_finite(name, values)?,
            Tensor::Int8 { scales, .. } => canonical::check_finite(name, scales)?,
        }
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

/// A written tensor, which is a part of the parameter with this index.
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
