//! A model on its way from a reader or a maker to the writer.

use serde_json::{Map, Value};

use mobilebert::ModelConfig;
use mobilebert::format::WeightSource;
use mobilebert::graph::{Graph, Parameter};

/// A model in the form that its source holds it in.
pub(crate) struct RawModel {
    pub(crate) config: ModelConfig,
    /// The source's own `config.json`, or the fields that stand for it.
    pub(crate) original: Map<String, Value>,
    pub(crate) graph: Graph,
    /// The values of the graph's parameters, then those of `extra`.
    pub(crate) weights: Box<dyn WeightSource>,
    /// Tensors that belong to the model but that the graph does not read, such as an unused pooler or head.
    pub(crate) extra: Vec<Parameter>,
    /// True if numbers of the source were rounded, or folded into others, when it was exported.
    pub(crate) approximate: bool,
}
