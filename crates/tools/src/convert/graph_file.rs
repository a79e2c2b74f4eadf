//! Reads models that come as a graph of operators: ONNX and LiteRT.

use std::path::Path;

use serde_json::{Map, Value};

use super::attached::LABELS;
use super::flow::{Flow, Node, Op, is_of_other_architecture};
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
    check_size(&flow)?;
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
                    notes.push(inferred_note(&config, labels.as_deref(), is_named));
                }
                notes.extend(note);
                notes.extend(found);
                let approximate = is_approximate(&flow, &stored);
                let parameters = graph.parameters.clone();
                let weights = Box::new(StoredWeights { checkpoint: flow.checkpoint, stored, parameters });
                return Ok(RawModel { config, original, graph, weights, extra: Vec::new(), approximate });
            }
            // That the graph is of another architecture says more than where a configuration differs from it.
            Err(error) => match &first_error {
                Some(first) if is_of_other_architecture(first) || !is_of_other_architecture(&error) => {}
                _ => first_error = Some(error),
            },
        }
    }
    let error = first_error.unwrap_or_else(|| flow.missing("the model", "a MobileBERT or BERT"));
    Err(unread::explain(&flow, error))
}

fn check_size(flow: &Flow) -> Result<()> {
    if flow.nodes.len() <= MAX_NODES {
        return Ok(());
    }
    let (expected, found) = (format!("at most {MAX_NODES} operators"), flow.nodes.len().to_string());
    let hint = "if the graph is of another architecture, it cannot be converted";
    Err(flow.error("the graph".to_owned(), "the model", &expected, &found, hint))
}

/// Says what of a configuration that was inferred the graph does not tell. `labels` stand beside the file,
/// and are the names of the model's labels if `is_named`.
fn inferred_note(config: &ModelConfig, labels: Option<&[String]>, is_named: bool) -> String {
    let labels = match labels {
        Some(_) if is_named => format!("labels are those of {LABELS} in the file"),
        Some(labels) => format!(
            "{LABELS} in the file has {} lines for {} labels, which are numbered instead",
            labels.len(),
            config.labels.len()
        ),
        None => "labels are numbered".to_owned(),
    };
    format!(
        "the configuration was inferred from the graph; {labels} and the case of texts is a guess from the \
         vocabulary"
    )
}

/// Returns true if the graph computes with rounded numbers, or holds them.
fn is_approximate(flow: &Flow, stored: &[Stored]) -> bool {
    let rounds = |node: &Node| matches!(node.op, Op::Quantize | Op::Dequantize { .. } | Op::MatMulInteger);
    let is_int8 = |stored: &Stored| stored.views().any(|view| view.affine.is_some());
    flow.nodes.iter().any(rounds) || stored.iter().any(is_int8)
}

/// A configuration, and what to say if it is the one of the graph.
type Candidate = (Map<String, Value>, Option<String>);

/// Returns the configurations to try for one that was given: itself, then with the head that the graph has,
/// because exporters copy the configuration of the model that they took the encoder from, and then with the
/// approximation that optimisers put in the place of GELU.
fn given(flow: &Flow, config: Map<String, Value>, notes: &mut Vec<String>) -> Vec<Candidate> {
    let mut config = without_relu6(config);
    let number = |name: &str| config.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let Some(vocabulary) = number("vocab_size") else { return vec![(config, None)] };
    let all = number("max_position_embeddings");
    let fewer = |positions: &usize| all.is_none_or(|all| *positions < all);
    if let Some(positions) = infer::fixed_length(flow, vocabulary).filter(fewer) {
        notes.push(infer::fixed_length_note(positions, all));
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
