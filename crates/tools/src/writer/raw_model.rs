//! A model between whoever reads or makes it and the writer.

use serde_json::{Map, Value};

use mobilebert::ModelConfig;
use mobilebert::format::WeightSource;
use mobilebert::graph::{Graph, Parameter};

/// A model as its source holds it.
pub(crate) struct RawModel {
    pub(crate) config: ModelConfig,
    /// The source's own `config.json` or what stands for it.
    pub(crate) original: Map<String, Value>,
    pub(crate) graph: Graph,
    /// The values of the graph's parameters, then those of `extra`.
    pub(crate) weights: Box<dyn WeightSource>,
    /// Tensors that the graph does not read but that belong to the model: an unused pooler, another head.
    pub(crate) extra: Vec<Parameter>,
    /// Says whether the source holds numbers that were rounded, or folded into others, when it was exported.
    pub(crate) approximate: bool,
}
