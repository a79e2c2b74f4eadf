//! Checks layer by layer that a written model computes what its source computes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::BackendKind;
use crate::writer::{RawModel, sample};
use mobilebert::backend::Observer;
use mobilebert::files::json;
use mobilebert::format::{Tensor, WeightSource};
use mobilebert::graph::{Node, ParameterId};
use mobilebert::text::Batch;
use mobilebert::{Context as _, Engine, EngineOptions, ErrorKind, ModelFiles, Result};

/// The name of a file beside a model with token ids and the results that the original computed from them, as
/// `eval/reference` writes it.
pub(super) const EXPECTED: &str = "expected.json";

/// The largest difference of logits from those of the source's own framework, relative to the largest logit.
/// f32 sums in another order differ by about 1e-6 of it a layer.
const EXACT: f32 = 1e-4;

/// The same limit for sources that compute in int8, whose logits carry the rounding of every activation: a
/// third of the range in the smallest models with static int8. A wrong weight moves logits by more than their
/// range.
const APPROXIMATE: f32 = 0.5;

/// A comparison of the written model with its source.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The backend that ran both: `candle`, or `native` in a build without it.
    pub backend: &'static str,
    /// The deviations of the embeddings, of each layer and of the logits.
    pub layers: Vec<VerifiedLayer>,
    /// The largest difference between the written model's logits and those recorded beside the source, if
    /// there are any.
    pub recorded: Option<f32>,
}

/// The deviation of one part of the model from the source.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct VerifiedLayer {
    /// The module path: `embeddings`, `encoder.layer.3` or that of the head.
    pub layer: String,
    /// The largest absolute difference between the source and the written model, both run by the reference.
    pub deviation: f32,
    /// The largest absolute difference between the written model run by the reference backend and by the
    /// native engine, as users run it.
    pub native: f32,
    /// The largest absolute value, to judge the others by.
    pub magnitude: f32,
}

/// Weights behind a reference, since an engine takes them only for the time of loading.
struct Borrowed<'w>(&'w dyn WeightSource);

impl WeightSource for Borrowed<'_> {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        self.0.tensor(parameter)
    }
}

/// The last value of each layer, by the layer's place in the model and its name.
type Values = BTreeMap<(usize, String), Vec<f32>>;

/// An observer that keeps the last value of each layer.
#[derive(Default)]
struct Layers(Mutex<Values>);

impl Observer for Layers {
    fn observe(&self, node: &Node, output: &[f32]) {
        let key = layer(&node.name);
        if let Ok(mut layers) = self.0.lock() {
            layers.insert(key, output.to_vec());
        }
    }
}

/// Returns the layer that a node belongs to, with its place in the model.
fn layer(node: &str) -> (usize, String) {
    let number: Option<usize> =
        node.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse().ok());
    match number {
        Some(number) => (number + 1, format!("encoder.layer.{number}")),
        None if node.starts_with("embeddings") => (0, "embeddings".to_owned()),
        None => (usize::MAX, "head".to_owned()),
    }
}

pub(super) fn verify(source: &RawModel, expected: Option<&[u8]>, written: &Path) -> Result<Verification> {
    let reference = if cfg!(feature = "candle") { BackendKind::Candle } else { BackendKind::Native };
    let options = || EngineOptions::new().backend(reference);
    let recorded = expected.and_then(|bytes| Recorded::from_json(bytes).ok());
    let batch = match &recorded {
        Some(recorded) => Batch::single(&recorded.ids, &recorded.types)?,
        None => sample(&source.config)?,
    };
    let run = |engine: &Engine| -> Result<(Vec<f32>, Values)> {
        let layers = Layers::default();
        let output = engine.forward_observed(&batch, &layers)?;
        Ok((output.values().to_vec(), layers.0.into_inner().unwrap_or_default()))
    };
    // Only one model is in memory at a time.
    let (_, of_source) = {
        let weights = Borrowed(&*source.weights);
        let engine = Engine::from_weights(source.config.clone(), source.graph.clone(), &weights, options())?;
        run(&engine).context(|| "the source".to_owned())?
    };
    let files = ModelFiles::Folder(written.to_owned());
    let (logits, of_written) =
        run(&Engine::from_files(&files, None, options())?).context(|| "the written model".to_owned())?;
    let (_, of_native) = run(&Engine::from_files(&files, None, EngineOptions::new())?)
        .context(|| "the written model".to_owned())?;

    let mut layers = Vec::new();
    for (key, values) in &of_source {
        let deviation = largest_difference(values, of_written.get(key));
        if deviation != 0.0 {
            let reference = "the source, run by the same code".to_owned();
            return Err(
                ErrorKind::Verification { place: key.1.clone(), deviation, reference, limit: 0.0 }.into()
            );
        }
        let native = largest_difference(values, of_native.get(key));
        let magnitude = values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
        layers.push(VerifiedLayer { layer: key.1.clone(), deviation, native, magnitude });
    }
    let recorded = match recorded {
        Some(recorded) => {
            let deviation = largest_difference(&logits, Some(&recorded.logits));
            let magnitude = recorded.logits.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            let limit = magnitude * if source.approximate { APPROXIMATE } else { EXACT };
            if deviation.is_nan() || deviation > limit {
                let place = "logits".to_owned();
                let reference = format!("{EXPECTED} beside the source");
                return Err(ErrorKind::Verification { place, deviation, reference, limit }.into());
            }
            Some(deviation)
        }
        None => None,
    };
    let backend = if cfg!(feature = "candle") { "candle" } else { "native" };
    Ok(Verification { backend, layers, recorded })
}

/// Returns the largest difference, or infinity if there is nothing of the same length to compare with.
fn largest_difference(values: &[f32], others: Option<&Vec<f32>>) -> f32 {
    match others {
        Some(others) if others.len() == values.len() => {
            values.iter().zip(others).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        }
        _ => f32::INFINITY,
    }
}

/// The content of [`EXPECTED`].
struct Recorded {
    ids: Vec<u32>,
    types: Vec<u32>,
    logits: Vec<f32>,
}

impl Recorded {
    fn from_json(bytes: &[u8]) -> Result<Self> {
        let json: Value = json::parse(EXPECTED, bytes)?;
        let numbers = |field: &str| {
            let mut numbers = Vec::new();
            flatten(&json[field], &mut numbers);
            numbers
        };
        let integers = |field: &str| numbers(field).into_iter().map(|n| n as u32).collect();
        let logits = numbers("logits").into_iter().map(|n| n as f32).collect();
        Ok(Self { ids: integers("input_ids"), types: integers("token_type_ids"), logits })
    }
}

/// Appends the numbers of an array of any nesting.
fn flatten(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| flatten(value, into)),
        other => into.extend(other.as_f64()),
    }
}
