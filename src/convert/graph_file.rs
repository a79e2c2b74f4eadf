//! Models that come as a graph of operators: ONNX and LiteRT.

use std::path::Path;

use serde_json::{Map, Value};

use super::flow::{Flow, Op};
use super::infer;
use super::source::Source;
use super::stored::{Stored, StoredWeights};
use super::topology::{self, Matched};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::format::Bytes;
use crate::model;

/// Several times what a quantised BERT-large has.
const MAX_NODES: usize = 1 << 16;

pub(super) fn onnx(label: &str, bytes: Bytes, folder: Option<&Path>) -> Result<Flow> {
    let (graph, checkpoint) = crate::format::onnx::read(label, bytes, folder)?;
    Ok(super::onnx::flow(label, graph, checkpoint))
}

pub(super) fn tflite(label: &str, bytes: Bytes) -> Result<Flow> {
    let (graph, checkpoint) = crate::format::tflite::read(label, bytes)?;
    Ok(super::tflite::flow(label, graph, checkpoint))
}

/// The model in a graph: with the given configuration, or with the one that its operators and shapes imply.
pub(super) fn open(
    flow: Flow,
    config: Option<Map<String, Value>>,
    notes: &mut Vec<String>,
) -> Result<Source> {
    if flow.nodes.len() > MAX_NODES {
        let (expected, found) = (format!("at most {MAX_NODES} operators"), flow.nodes.len().to_string());
        let hint = "if the graph is of another architecture, it cannot be converted";
        return Err(flow.error("the graph".to_owned(), "the model", &expected, &found, hint));
    }
    let inferred = config.is_none();
    let candidates = match config {
        Some(config) => vec![config],
        None => infer::configurations(&flow, notes)?,
    };
    let mut first_error = None;
    for original in candidates {
        match attempt(&flow, &original) {
            Ok((config, graph, Matched { stored, notes: found })) => {
                if inferred {
                    notes.push(
                        "the configuration was inferred from the graph; labels are numbered and the case of \
                         texts is a guess from the vocabulary"
                            .to_owned(),
                    );
                }
                notes.extend(found);
                let rounded = |node: &super::flow::Node| {
                    matches!(node.op, Op::Quantize | Op::Dequantize { .. } | Op::MatMulInteger)
                };
                let int8 = |stored: &Stored| stored.views().any(|view| view.affine.is_some());
                let approximate = flow.nodes.iter().any(rounded) || stored.iter().any(int8);
                let weights = StoredWeights {
                    checkpoint: flow.checkpoint,
                    stored,
                    parameters: graph.parameters.clone(),
                };
                let extra = Vec::new();
                return Ok(Source {
                    config,
                    original,
                    graph,
                    weights: Box::new(weights),
                    extra,
                    approximate,
                });
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| flow.missing("the model", "a MobileBERT or BERT")))
}

fn attempt(flow: &Flow, config: &Map<String, Value>) -> Result<(ModelConfig, crate::graph::Graph, Matched)> {
    let config = ModelConfig::from_json(&Value::Object(config.clone()).to_string())?;
    let graph = model::build(&config, config.head);
    let matched = topology::find(flow, &graph)?;
    Ok((config, graph, matched))
}
