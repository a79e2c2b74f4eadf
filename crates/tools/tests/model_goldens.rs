//! Compares every architecture option with the original Python implementation
//! (`eval/reference/make_model_goldens.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mobilebert::backend::Observer;
use mobilebert::format::{Bytes, Checkpoint};
use mobilebert::graph::Node;
use mobilebert::model::{self, synthetic, synthetic::Synthetic};
use mobilebert::{Batch, Engine, EngineOptions, ModelConfig, Output};
use mobilebert_tools::BackendKind;
use serde_json::Value;

/// The largest difference allowed, relative to [`scale`]. Sums of f32 in another order differ by a few 1e-6,
/// and a wrong epsilon, scale or residual changes the output by more than 1e-3.
const TOLERANCE: f32 = 1e-4;

/// The backends of this build, all in f32.
const BACKENDS: &[BackendKind] = if cfg!(feature = "candle") {
    &[BackendKind::Native, BackendKind::Candle]
} else {
    &[BackendKind::Native]
};

struct Case {
    config: ModelConfig,
    config_json: String,
    sequences: Vec<(Vec<u32>, Vec<u32>)>,
    nonzero_pad_row: bool,
    expected: Checkpoint,
}

impl Case {
    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let lists = |key: &str| -> Vec<Vec<u32>> { serde_json::from_value(json[key].clone()).unwrap() };
        let config_json = json["config"].to_string();
        let mut expected = Checkpoint::default();
        let file = path.with_extension("safetensors");
        expected.add_safetensors("golden", Bytes::map(&file).unwrap()).unwrap();
        Self {
            config: ModelConfig::from_json(&config_json).unwrap(),
            config_json,
            sequences: lists("input_ids").into_iter().zip(lists("token_type_ids")).collect(),
            nonzero_pad_row: json["nonzero_pad_row"] == true,
            expected,
        }
    }

    fn engine(&self, options: EngineOptions) -> Engine {
        let config = ModelConfig::from_json(&self.config_json).unwrap();
        let graph = model::build(&config, config.head);
        let mut weights = Synthetic::new(&graph);
        if self.nonzero_pad_row {
            weights = weights.nonzero_pad_row();
        }
        Engine::from_weights(config, graph, &weights, options).unwrap()
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for (ids, type_ids) in &self.sequences {
            batch.push(ids, type_ids).unwrap();
        }
        batch
    }

    fn expected(&self, name: &str) -> Option<Vec<f32>> {
        self.expected.entry(name).map(|_| self.expected.f32(name).unwrap().into_owned())
    }

    /// Returns the scale of the expected logits of all sequences together, because two labels of one sequence
    /// can agree by accident.
    fn logit_scale(&self) -> f32 {
        let logits = (0..self.sequences.len()).filter_map(|s| self.expected(&format!("{s}.logits")));
        scale(&logits.flatten().collect::<Vec<_>>())
    }

    /// Returns the rows of the output that belong to a sequence: those of all its tokens, or its only row.
    fn rows_of<'o>(&self, batch: &Batch, output: &'o Output, sequence: usize) -> &'o [f32] {
        let rows =
            if output.rows() == batch.tokens() { batch.range(sequence) } else { sequence..sequence + 1 };
        &output.values()[rows.start * output.width()..rows.end * output.width()]
    }
}

fn cases() -> Vec<(String, Case)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = files
        .filter(|path| path.with_extension("safetensors").exists())
        .filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut cases: Vec<_> =
        json.map(|p| (p.file_stem().unwrap().to_string_lossy().into_owned(), Case::read(&p))).collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 39, "goldens are missing: {} cases", cases.len());
    cases
}

/// Returns the scale that differences are divided by. It is the range of the values, so that a common offset
/// does not hide errors, or their magnitude if they are all equal.
fn scale(values: &[f32]) -> f32 {
    let max = values.iter().copied().fold(f32::MIN, f32::max);
    let min = values.iter().copied().fold(f32::MAX, f32::min);
    if max > min { max - min } else { max.abs() }
}

/// Returns the largest difference divided by `scale`. It is NaN if any difference is NaN, or if both are
/// zero.
fn difference(expected: &[f32], found: &[f32], scale: f32) -> f32 {
    assert_eq!(expected.len(), found.len());
    let worst = |m: f32, d: f32| if m.is_nan() || d <= m { m } else { d };
    expected.iter().zip(found).map(|(e, f)| (e - f).abs()).fold(0.0, worst) / scale
}

#[test]
fn differences_are_relative_to_the_range() {
    assert_eq!([scale(&[100.0, 102.0]), scale(&[-4.0]), scale(&[4.0, 4.0])], [2.0, 4.0, 4.0]);
    assert_eq!(difference(&[100.0, 102.0], &[100.0, 101.0], 2.0), 0.5);
    assert!(difference(&[1.0, 2.0, 3.0], &[1.0, f32::NAN, 3.0], 1.0).is_nan());
    assert!(difference(&[0.0, 0.0], &[0.0, 0.0], 0.0).is_nan(), "nothing was compared");
    assert_eq!(difference(&[1.0, 2.0], &[1.0, f32::INFINITY], 1.0), f32::INFINITY);
}

#[test]
fn synthetic_weights_follow_the_formula() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/models/synthetic.json");
    let samples: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for sample in samples.as_array().unwrap() {
        let shape: Vec<usize> = serde_json::from_value(sample["shape"].clone()).unwrap();
        let list = |key: &str| -> Vec<f32> { serde_json::from_value(sample[key].clone()).unwrap() };
        let values = synthetic::values(sample["name"].as_str().unwrap(), &shape);
        let (first, last) = (list("first"), list("last"));
        assert_eq!(values[..first.len()], first, "{}", sample["name"]);
        assert_eq!(values[values.len() - last.len()..], last, "{}", sample["name"]);
    }
}

#[derive(Default)]
struct Recorder {
    outputs: Mutex<BTreeMap<String, Vec<f32>>>,
}

impl Observer for Recorder {
    fn observe(&self, node: &Node, output: &[f32]) {
        self.outputs.lock().unwrap().insert(node.name.clone(), output.to_vec());
    }
}

#[test]
fn logits_agree_alone_and_in_a_batch() {
    let mut failures = Vec::new();
    for (name, case) in cases() {
        for &backend in BACKENDS {
            let engine = case.engine(EngineOptions::new().backend(backend));
            let batch = case.batch();
            let together = engine.forward(&batch).unwrap();
            for (s, (ids, type_ids)) in case.sequences.iter().enumerate() {
                let expected = case.expected(&format!("{s}.logits")).expect("every golden has logits");
                let alone = engine.forward(&Batch::single(ids, type_ids).unwrap()).unwrap();
                for (how, found) in [("alone", alone.values()), ("batch", case.rows_of(&batch, &together, s))]
                {
                    let d = difference(&expected, found, case.logit_scale());
                    if d.is_nan() || d > TOLERANCE {
                        failures.push(format!("{name} {backend:?} sequence {s} {how}: {d:e}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn embeddings_and_every_layer_agree() {
    let (mut failures, mut compared) = (Vec::new(), 0);
    let on_each = |(name, case)| BACKENDS.iter().map(move |&backend| (name, case, backend));
    for (name, case, backend) in cases().iter().map(|(name, case)| (name, case)).flat_map(on_each) {
        let engine = case.engine(EngineOptions::new().backend(backend));
        let batch = case.batch();
        let recorder = Recorder::default();
        engine.forward_observed(&batch, &recorder).unwrap();
        let outputs = recorder.outputs.into_inner().unwrap();
        let graph = engine.backend().graph();
        let last_node = |prefix: &str| graph.nodes.iter().rev().find(|n| n.name.starts_with(prefix)).unwrap();

        let mut check = |golden: &str, node: &str, s: usize| {
            let (expected, rows) = match case.expected(&format!("{s}.{golden}")) {
                Some(expected) => (expected, batch.range(s)),
                None => match case.expected(&format!("{s}.{golden}.row0")) {
                    Some(expected) => (expected, batch.range(s).start..batch.range(s).start + 1),
                    None => return,
                },
            };
            // In ELECTRA the embeddings are narrower than the layers.
            let width = outputs[node].len() / batch.tokens();
            let found = &outputs[node][rows.start * width..rows.end * width];
            let d = difference(&expected, found, scale(&expected));
            compared += 1;
            if d.is_nan() || d > TOLERANCE {
                failures.push(format!("{name} {backend:?} sequence {s} {golden}: {d:e}"));
            }
        };
        for s in 0..case.sequences.len() {
            check("embeddings", "embeddings", s);
            for layer in 0..case.config.num_hidden_layers {
                let node = last_node(&format!("encoder.layer.{layer}."));
                check(&format!("layer.{layer}"), &node.name, s);
            }
        }
    }
    assert!(compared > 100, "only {compared} values compared");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn padding_is_dropped_not_computed() {
    for (name, case) in cases().into_iter().filter(|(name, _)| name != "mobilebert_24") {
        let engine = case.engine(EngineOptions::new());
        let batch = case.batch();
        let width = batch.max_len() + 3;
        let pad = |row: &[u32]| [row, &vec![0; width - row.len()]].concat();
        let ids: Vec<u32> = case.sequences.iter().flat_map(|(ids, _)| pad(ids)).collect();
        let type_ids: Vec<u32> = case.sequences.iter().flat_map(|(_, types)| pad(types)).collect();
        let mask: Vec<u32> = case.sequences.iter().flat_map(|(ids, _)| pad(&vec![1; ids.len()])).collect();
        let padded = Batch::from_padded(&ids, &type_ids, &mask, width).unwrap();
        let found = engine.forward(&padded).unwrap();
        assert_eq!(found, engine.forward(&batch).unwrap(), "{name}");
        for s in 0..case.sequences.len() {
            let expected = case.expected(&format!("{s}.logits")).unwrap();
            let d = difference(&expected, case.rows_of(&padded, &found, s), case.logit_scale());
            assert!(d <= TOLERANCE, "{name} sequence {s}: {d:e}");
        }
    }
}

/// The original's trigram reads the embedding of `[PAD]` behind the last token of a padded sequence, but
/// zeros when the sequence stands alone. This engine keeps the meaning of the sequence alone.
#[test]
fn the_last_trigram_sees_zeros_whatever_the_pad_row_holds() {
    let (_, case) = cases().into_iter().find(|(_, case)| case.nonzero_pad_row).expect("the pad_row golden");
    let engine = case.engine(EngineOptions::new());
    let mut padding_changed_the_original = false;
    for (s, (ids, type_ids)) in case.sequences.iter().enumerate() {
        let alone = case.expected(&format!("{s}.logits")).unwrap();
        let found = engine.forward(&Batch::single(ids, type_ids).unwrap()).unwrap();
        assert!(difference(&alone, found.values(), case.logit_scale()) <= TOLERANCE);
        let padded = case.expected(&format!("{s}.padded_logits")).unwrap();
        padding_changed_the_original |= difference(&alone, &padded, case.logit_scale()) > TOLERANCE;
    }
    assert!(padding_changed_the_original, "the golden no longer shows the difference");
}

#[test]
fn threads_do_not_change_the_logits() {
    for (name, case) in cases() {
        let batch = case.batch();
        let run = |threads| case.engine(EngineOptions::new().threads(threads)).forward(&batch).unwrap();
        let (one, two) = (run(1), run(2));
        assert!(difference(one.values(), two.values(), case.logit_scale()) <= TOLERANCE, "{name}");
    }
}
