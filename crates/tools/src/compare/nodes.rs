//! Two engines on the same tokens, compared node by node, to find where their results begin to differ.
//!
//! Both run the same graph, so every node has a counterpart, whatever each backend merges or fuses. The error
//! of a node includes the errors that it inherits from earlier nodes. To measure one module by itself, run it
//! alone in int8: keep the others in f32 with [`mobilebert::EngineOptions::keep_f32`].

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use mobilebert::backend::Observer;
use mobilebert::graph::Node;
use mobilebert::quant::Deviation;
use mobilebert::text::Batch;
use mobilebert::{Engine, Error, Result};

/// The distance of a node's output from the reference; see [`Deviation`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeDeviation {
    /// Module path.
    pub name: String,
    /// Encoder layer; `None` for embeddings and head.
    pub layer: Option<usize>,
    /// Signal to quantisation noise ratio in decibels; infinite (in JSON `null`) if nothing differs.
    pub sqnr_db: f64,
    /// Norm of the difference, divided by the norm of the reference.
    pub relative_error: f64,
    /// Largest difference.
    pub max_abs_error: f64,
}

/// The deviations of one layer, or of the embeddings or the head.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerDeviation {
    /// `embeddings`, `layer 7` or `head`.
    pub name: String,
    /// The last node: what the next layer reads.
    pub output: NodeDeviation,
    /// The node with the lowest ratio.
    pub lowest: NodeDeviation,
}

/// The result of [`node_by_node`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Tokens that were run.
    pub tokens: usize,
    /// Every node, in the order of the graph.
    pub nodes: Vec<NodeDeviation>,
}

impl Comparison {
    /// The nodes, grouped by layer.
    pub fn by_layer(&self) -> Vec<LayerDeviation> {
        let fold = |nodes: &[NodeDeviation]| {
            let lowest = nodes.iter().min_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db))?;
            let first = nodes.first()?;
            let name = match first.layer {
                Some(layer) => format!("layer {layer}"),
                None if Some(first) == self.nodes.first() => "embeddings".to_owned(),
                None => "head".to_owned(),
            };
            Some(LayerDeviation { name, output: nodes.last()?.clone(), lowest: lowest.clone() })
        };
        self.nodes.chunk_by(|a, b| a.layer == b.layer).filter_map(fold).collect()
    }
}

/// Runs both engines on each batch and compares the output of every node.
///
/// ```
/// use mobilebert::{Batch, Engine, EngineOptions, Precision};
/// use mobilebert_tools::compare;
///
/// let open = |precision| Engine::open("qa", EngineOptions::new().precision(precision));
/// let (f32, int8) = (open(Precision::F32)?, open(Precision::Int8)?);
/// let found = compare::node_by_node(&f32, &int8, &[Batch::single(&[101, 7592, 102], &[0; 3])?])?;
/// for layer in found.by_layer() {
///     println!("{:10} {:5.1} dB, lowest {:5.1}", layer.name, layer.output.sqnr_db, layer.lowest.sqnr_db);
/// }
/// assert!(found.nodes.iter().all(|node| node.sqnr_db > 15.0));
/// # Ok::<(), mobilebert::Error>(())
/// ```
///
/// # Errors
/// Returns [`mobilebert::ErrorKind::Option`] if the engines run different graphs, and the errors of
/// [`Engine::forward`].
pub fn node_by_node(reference: &Engine, found: &Engine, batches: &[Batch]) -> Result<Comparison> {
    let (nodes, others) = (&reference.backend().graph().nodes, &found.backend().graph().nodes);
    let differ = |(a, b): &(&Node, &Node)| a.name != b.name || a.width != b.width;
    if let Some((a, b)) = nodes.iter().zip(others).find(differ) {
        let describe = |node: &Node| format!("`{}` of width {}", node.name, node.width);
        return Err(Error::option(
            "reference",
            format!("a model with the node {}", describe(b)),
            describe(a),
        ));
    }
    if nodes.len() != others.len() {
        let expected = format!("a model of {} nodes", others.len());
        return Err(Error::option("reference", expected, format!("one of {}", nodes.len())));
    }
    let mut deviations = vec![Deviation::default(); nodes.len()];
    for batch in batches {
        let expected = Recorder::default();
        reference.forward_observed(batch, &expected)?;
        let expected = expected.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let pairs = deviations.iter_mut().zip(expected);
        found.forward_observed(batch, &Comparer(Mutex::new(pairs)))?;
    }
    let node = |(node, deviation): (&Node, Deviation)| NodeDeviation {
        name: node.name.clone(),
        layer: node.layer(),
        sqnr_db: deviation.sqnr_db(),
        relative_error: deviation.relative_error(),
        max_abs_error: deviation.max_abs_error(),
    };
    Ok(Comparison {
        tokens: batches.iter().map(Batch::tokens).sum(),
        nodes: nodes.iter().zip(deviations).map(node).collect(),
    })
}

/// Keeps every value. Backends report them in the order of the graph.
#[derive(Default)]
struct Recorder(Mutex<Vec<Vec<f32>>>);

impl Observer for Recorder {
    fn observe(&self, _: &Node, output: &[f32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(output.to_vec());
    }
}

/// Compares every value with the next expected one.
struct Comparer<I>(Mutex<I>);

impl<'d, I: Iterator<Item = (&'d mut Deviation, Vec<f32>)> + Send> Observer for Comparer<I> {
    fn observe(&self, _: &Node, output: &[f32]) {
        if let Some((deviation, expected)) = self.0.lock().unwrap_or_else(PoisonError::into_inner).next() {
            deviation.add(&expected, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mobilebert::EngineOptions;
    use mobilebert::backend::Precision;
    use mobilebert::model::{self, synthetic::Synthetic};
    use mobilebert::{Head, ModelConfig};

    const CONFIG: &str =
        r#"{"model_type": "mobilebert", "num_hidden_layers": 3, "vocab_size": 300, "hidden_size": 512}"#;

    fn engine(config: &str, options: EngineOptions) -> Engine {
        let config = ModelConfig::from_json(config).unwrap();
        let graph = model::build(&config, Head::QuestionAnswering);
        let weights = Synthetic::new(&graph);
        Engine::from_weights(config, graph, &weights, options).unwrap()
    }

    fn batches() -> [Batch; 2] {
        [33, 5].map(|n| Batch::single(&(1..=n).collect::<Vec<u32>>(), &vec![0; n as usize]).unwrap())
    }

    fn options(precision: Precision) -> EngineOptions {
        EngineOptions::new().precision(precision)
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let model = engine(CONFIG, options(Precision::Int8));
        let found = node_by_node(&model, &model, &batches()).unwrap();
        assert_eq!((found.tokens, found.nodes.len()), (38, model.backend().graph().nodes.len()));
        assert!(found.nodes.iter().all(|n| n.sqnr_db == f64::INFINITY && n.max_abs_error == 0.0));
    }

    #[test]
    fn int8_differs_from_where_it_begins() {
        let f32 = engine(CONFIG, options(Precision::F32));
        let kept = ["encoder.layer.0.", "encoder.layer.1."];
        let found = |kept: &[&str]| {
            let int8 = engine(CONFIG, options(Precision::Int8).keep_f32(kept.iter().copied()));
            node_by_node(&f32, &int8, &batches()).unwrap()
        };
        let (all, some) = (found(&[]), found(&kept));
        let layers = all.by_layer();
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_eq!(names, ["embeddings", "layer 0", "layer 1", "layer 2", "head"]);
        assert_eq!(layers[3].output.name, "encoder.layer.2.output.bottleneck.dense");
        assert_eq!(layers[4].output.name, "qa_outputs");
        for layer in &layers {
            assert!(layer.lowest.sqnr_db <= layer.output.sqnr_db && layer.lowest.sqnr_db > 15.0, "{layer:?}");
        }
        for (all, some) in layers.iter().zip(some.by_layer()).skip(1) {
            assert!(some.output.sqnr_db > all.output.sqnr_db, "{all:?} {some:?}");
        }
    }

    #[cfg(feature = "candle")]
    #[test]
    fn the_reference_backend_is_compared_at_the_same_points() {
        let native = engine(CONFIG, options(Precision::F32));
        let candle = engine(CONFIG, EngineOptions::new().backend(crate::BackendKind::Candle));
        // Two backends in f32 differ by less than 1e-5 of the norm. Int8 differs by 1e-2.
        let found = node_by_node(&candle, &native, &batches()).unwrap();
        assert!(found.nodes.iter().all(|node| node.relative_error < 1e-5), "{:?}", found.by_layer());
    }

    #[test]
    fn other_graphs_are_refused() {
        let two = CONFIG.replace(": 3", ": 2");
        let (a, b) = (engine(CONFIG, EngineOptions::new()), engine(&two, EngineOptions::new()));
        for (a, b) in [(&a, &b), (&b, &a)] {
            let error = node_by_node(a, b, &batches()).unwrap_err();
            assert!(
                matches!(error.kind(), mobilebert::ErrorKind::Option { option: "reference", .. }),
                "{error}"
            );
        }
    }
}
