//! Reads weights that have Hugging Face's names.

use std::path::Path;

use serde_json::{Map, Value};

use super::elsewhere::TF_SAFETENSORS;
use crate::writer::RawModel;
use mobilebert::format::{Bytes, Checkpoint, Tensor, WeightSource};
use mobilebert::graph::{Parameter, ParameterId};
use mobilebert::model::{self, Weights};
use mobilebert::{ErrorKind, ModelConfig, Result};

/// Returns true for the beginning of a zip archive or of a pickle (protocol 2 or later).
pub(super) fn is_pytorch(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || matches!(head, [0x80, 2..=5, ..])
}

/// Opens one weight file, without the rest of its folder.
pub(super) fn weight_file(path: &Path) -> Result<Checkpoint> {
    let label = path.display().to_string();
    let bytes = Bytes::map(path)?;
    let mut checkpoint = Checkpoint::default();
    if is_pytorch(&bytes) {
        checkpoint.add_pytorch(&label, bytes)?;
    } else {
        checkpoint.add_safetensors(&label, bytes)?;
    }
    Ok(checkpoint)
}

/// Weights that have Hugging Face's names.
struct Named {
    weights: Weights,
    /// The name in the checkpoint of each extra parameter.
    extra: Vec<String>,
    parameters: usize,
}

impl WeightSource for Named {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        match parameter.0.checked_sub(self.parameters) {
            None => self.weights.tensor(parameter),
            Some(extra) => Ok(Tensor::F32(self.weights.checkpoint().f32(&self.extra[extra])?)),
        }
    }
}

/// Reads the model in a checkpoint. `original` holds the fields of its `config.json`.
pub(super) fn open(
    checkpoint: Checkpoint,
    original: Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<RawModel> {
    refuse_tensorflow(&checkpoint)?;
    let mut config = ModelConfig::from_json(&Value::Object(original.clone()).to_string())?;
    let head = config.head;
    let (graph, weights) = Weights::open(checkpoint, &mut config, head)?;
    if config.own_decoder {
        notes.push(
            "`tie_word_embeddings` was true, but the masked-LM decoder differs from the word embeddings; it is kept, as \
             `transformers` does"
                .to_owned(),
        );
    }
    if config.quantization.as_ref().is_some_and(|quantization| quantization.bits == 4) {
        notes.push(
            "weights of 4 bits are written in int8, in which they are computed with: the same numbers"
                .to_owned(),
        );
    }
    let (mut extra, mut names, mut dropped): (Vec<Parameter>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for name in weights.extra() {
        let entry = weights.checkpoint().entry(name);
        let parameter = bare(&config, name);
        let tied = model::names::is_tied_copy(&config, &parameter);
        let taken = extra.iter().chain(&graph.parameters).any(|p| p.name == parameter);
        match entry {
            Some(entry) if weights.checkpoint().check_float(name).is_ok() && !tied && !taken => {
                let shape = entry.shape.clone();
                extra.push(Parameter { name: parameter, shape, quantizable: false });
                names.push(name.clone());
            }
            _ => dropped.push(name.as_str()),
        }
    }
    if !dropped.is_empty() {
        notes.push(format!("left out, because the model never reads them: {}", dropped.join(", ")));
    }
    let parameters = graph.parameters.len();
    let weights = Box::new(Named { weights, extra: names, parameters });
    Ok(RawModel { config, original, graph, weights, extra, approximate: false })
}

/// Refuses a file with the names of transformers' TensorFlow classes, such as `bert/pooler/dense/kernel:0`.
fn refuse_tensorflow(checkpoint: &Checkpoint) -> Result<()> {
    let is_variable = |name: &&str| name.contains('/') && name.ends_with(":0");
    let Some(name) = checkpoint.entries().map(|(name, _)| name).find(is_variable) else { return Ok(()) };
    Err(ErrorKind::Conversion {
        file: checkpoint.file_of(name).to_owned(),
        place: format!("tensor `{name}`").into(),
        module: "the model".into(),
        expected: "the names of PyTorch, such as bert.pooler.dense.weight".to_owned(),
        found: TF_SAFETENSORS.found.to_owned(),
        hint: TF_SAFETENSORS.hint.into(),
    }
    .into())
}

/// Turns a checkpoint's name into the name of the graph's parameter.
fn bare(config: &ModelConfig, name: &str) -> String {
    let name = model::names::without_prefix(config, name);
    name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
}
