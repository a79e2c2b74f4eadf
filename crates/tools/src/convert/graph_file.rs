//! Reads models that come as a graph of operators: ONNX and LiteRT.

use std::path::Path;

use serde_json::{Map, Value};

use super::attached::LABELS;
use super::flow::{Flow, Op};
use super::infer;
use super::stored::{Stored, StoredWeights};
use super::topology::{self, Matched};
use super::unread;
use crate::writer::RawModel;
use mobilebert::format::Bytes;
use mobilebert::model;
use mobilebert::{ModelConfig, Result};

/// The most operators of a graph: several times as many as a quantised BERT-large has.
const MAX_NODES: usize = 1 << 16;

pub(super) fn onnx(label: &str, bytes: Bytes, folder: Option<&Path>) -> Result<Flow> {
    let (graph, checkpoint) = crate::foreign::onnx::read(label, bytes, folder)?;
    Ok(super::onnx::flow(label, graph, checkpoint))
}

pub(super) fn tflite(label: &str, bytes: Bytes) -> Result<Flow> {
    let (graph, checkpoint) = crate::foreign::tflite::read(label, bytes)?;
    Ok(super::tflite::flow(label, graph, checkpoint))
}

/// Reads the model in a graph with the given configuration, or with the one that the graph implies.
pub(super) fn open(
    flow: Flow,
    config: Option<Map<String, Value>>,
    labels: Option<Vec<String>>,
    notes: &mut Vec<String>,
) -> Result<RawModel> {
    if flow.nodes.len() > MAX_NODES {
        let (expected, found) = (format!("at most {MAX_NODES} operators"), flow.nodes.len().to_string());
        let hint = "if the graph is of another architecture, it cannot be converted";
        return Err(flow.error("the graph".to_owned(), "the model", &expected, &found, hint));
    }
    let inferred = config.is_none();
    let candidates = match config {
        Some(config) => given(&flow, config, notes),
        None => {
            let found = infer::configurations(&flow, notes);
            let found = found.map_err(|error| unread::explain(&flow, error))?;
            found.into_iter().map(|config| (config, None)).collect()
        }
    };
    let mut first_error = None;
    for (mut original, note) in candidates {
        let is_named = inferred && labels.as_ref().is_some_and(|labels| name_labels(&mut original, labels));
        match attempt(&flow, &original) {
            Ok((config, graph, Matched { stored, notes: found })) => {
                if inferred {
                    let labels = match &labels {
                        Some(_) if is_named => format!("labels are those of {LABELS} in the file"),
                        Some(labels) => format!(
                            "{LABELS} in the file has {} lines for {} labels, which are numbered instead",
                            labels.len(),
                            config.labels.len()
                        ),
                        None => "labels are numbered".to_owned(),
                    };
                    notes.push(format!(
                        "the configuration was inferred from the graph; {labels} and the case of texts is a guess \
                         from the vocabulary"
                    ));
                }
                notes.extend(note);
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
                return Ok(RawModel {
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
    let error = first_error.unwrap_or_else(|| flow.missing("the model", "a MobileBERT or BERT"));
    Err(unread::explain(&flow, error))
}

/// A configuration, and what to say if it is the one of the graph.
type Candidate = (Map<String, Value>, Option<String>);

/// Returns the configurations to try for one that was given: itself, then with the head that the graph has, because
/// exporters copy the configuration of the model that they took the encoder from, and then with the approximation
/// that optimisers put in the place of GELU.
fn given(flow: &Flow, config: Map<String, Value>, notes: &mut Vec<String>) -> Vec<Candidate> {
    let mut config = without_relu6(config);
    let number = |name: &str| config.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let Some(vocabulary) = number("vocab_size") else { return vec![(config, None)] };
    let all = number("max_position_embeddings").unwrap_or(usize::MAX);
    if let Some(positions) = infer::fixed_length(flow, vocabulary).filter(|&positions| positions < all) {
        notes.push(format!(
            "the graph was exported for sequences of {positions} tokens and holds no further positions: \
             max_position_embeddings is {positions}, not {all}; export with dynamic axes for longer texts"
        ));
        config.insert("max_position_embeddings".to_owned(), positions.into());
    }
    let head = infer::head(flow, vocabulary);
    let family = match config.get("model_type").and_then(Value::as_str) {
        Some("mobilebert") => "MobileBert",
        Some("bert") => "Bert",
        _ => return vec![(config, None)],
    };
    let mut candidates = vec![(config.clone(), None)];
    let class = format!("{family}{}", head.class);
    if config.get("architectures").is_some_and(|classes| classes[0] != class) {
        let mut config = config.clone();
        if head.class == "ForSequenceClassification" && family == "MobileBert" {
            config.insert("classifier_activation".to_owned(), head.tanh.into());
        }
        let note = format!(
            "the configuration names another head, but the graph ends as {class}, which was converted"
        );
        config.insert("architectures".to_owned(), serde_json::json!([class]));
        candidates.push((config, Some(note)));
    }
    if config.get("hidden_act").is_none_or(|name| name == "gelu")
        && flow.nodes.iter().any(|node| node.op == Op::GeluTanh)
    {
        for (mut config, note) in candidates.clone() {
            config.insert("hidden_act".to_owned(), "gelu_new".into());
            let ours = "the graph computes GELU by its tanh approximation, as after `optimum-cli ... --optimize O3`: \
                        hidden_act is gelu_new";
            let note = note.map_or_else(|| ours.to_owned(), |note| format!("{note}; {ours}"));
            candidates.push((config, Some(note)));
        }
    }
    candidates
}

/// Gives the labels of a classifier their names, if there are as many names as labels.
fn name_labels(config: &mut Map<String, Value>, labels: &[String]) -> bool {
    let is_classifier =
        config["architectures"][0].as_str().is_some_and(|class| class.ends_with("Classification"));
    if !is_classifier || config["num_labels"] != labels.len() {
        return false;
    }
    let ids = labels.iter().enumerate().map(|(i, label)| (i.to_string(), label.clone().into()));
    config.insert("id2label".to_owned(), Value::Object(ids.collect()));
    let labels = labels.iter().enumerate().map(|(i, label)| (label.clone(), i.into()));
    config.insert("label2id".to_owned(), Value::Object(labels.collect()));
    true
}

/// Returns the configuration without relu6, which the reader turns into twice as many activations with relu.
fn without_relu6(mut config: Map<String, Value>) -> Map<String, Value> {
    if config.get("hidden_act").is_some_and(|name| name == infer::RELU6)
        && let Some(size) = config.get("intermediate_size").and_then(Value::as_u64)
    {
        config.insert("hidden_act".to_owned(), "relu".into());
        config.insert("intermediate_size".to_owned(), size.saturating_mul(2).into());
    }
    config
}

fn attempt(
    flow: &Flow,
    config: &Map<String, Value>,
) -> Result<(ModelConfig, mobilebert::graph::Graph, Matched)> {
    let config = ModelConfig::from_json(&Value::Object(config.clone()).to_string())?;
    let graph = model::build(&config, config.head);
    let matched = topology::find(flow, &graph)?;
    Ok((config, graph, matched))
}
