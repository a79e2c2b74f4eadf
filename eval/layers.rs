//! Measures the error of int8 against f32, layer by layer.

use std::collections::HashMap;
use std::sync::Mutex;

use mobilebert::backend::Observer;
use mobilebert::graph::{Graph, Node};
use mobilebert::{Batch, Engine, Result};
use serde::{Deserialize, Serialize};

use crate::inputs::Input;

/// Error of a layer's output: RMS of the difference, relative to the RMS of the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerError {
    pub(crate) layer: String,
    pub(crate) error: f64,
}

/// The part of the model that a node is in: `embeddings`, `encoder.layer.7` or `head`.
pub(crate) fn part(node: &str) -> String {
    match node.split('.').collect::<Vec<_>>().as_slice() {
        ["embeddings", ..] => "embeddings".to_owned(),
        ["encoder", "layer", layer, ..] => format!("encoder.layer.{layer}"),
        _ => "head".to_owned(),
    }
}

/// The parts of a graph in order, each with its nodes.
pub(crate) fn parts(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    let mut parts: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let name = part(&node.name);
        match parts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, nodes)) => nodes.push(index),
            None => parts.push((name, vec![index])),
        }
    }
    parts
}

/// Outputs of each part.
#[derive(Default)]
struct Outputs(Mutex<HashMap<String, Vec<f32>>>);

impl Observer for Outputs {
    fn observe(&self, node: &Node, output: &[f32]) {
        // The output of a part is that of its last node.
        let mut outputs = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        outputs.insert(part(&node.name), output.to_vec());
    }
}

/// Errors of `engine` against `reference`, over some inputs.
pub(crate) fn errors(engine: &Engine, reference: &Engine, inputs: &[Input]) -> Result<Vec<LayerError>> {
    let parts = parts(engine.backend().graph());
    let mut sums = vec![(0.0, 0.0); parts.len()];
    for input in inputs {
        let batch = Batch::single(&input.ids, &input.type_ids)?;
        let of = |engine: &Engine| -> Result<HashMap<String, Vec<f32>>> {
            let outputs = Outputs::default();
            engine.forward_observed(&batch, &outputs)?;
            Ok(outputs.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
        };
        let (found, expected) = (of(engine)?, of(reference)?);
        for ((name, _), (difference, size)) in parts.iter().zip(&mut sums) {
            for (a, b) in found[name].iter().zip(&expected[name]) {
                *difference += f64::from(a - b).powi(2);
                *size += f64::from(*b).powi(2);
            }
        }
    }
    let error = |((layer, _), (difference, size)): ((String, Vec<usize>), (f64, f64))| LayerError {
        layer,
        error: if size > 0.0 { (difference / size).sqrt() } else { 0.0 },
    };
    Ok(parts.into_iter().zip(sums).map(error).collect())
}
