//! Tests the engine without pipelines: the units of output rows, memory between passes, and a backend from
//! outside the crate.

use std::path::Path;
use std::sync::{Arc, Mutex};

use mobilebert::backend::{Backend, BackendFactory, LoadOptions, Request};
use mobilebert::format::{Tensor, WeightSource};
use mobilebert::graph::{Graph, ParameterId};
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{
    Batch, EmbedOptions, Embedder, Engine, EngineOptions, ErrorKind, Head, ModelConfig, Precision, Result,
    RowUnit,
};

const CONFIG: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 2, "vocab_size": 60}"#;

/// The position whose embedding overflows. Sequences of more tokens than this have results that are not
/// finite.
const POISON: usize = 3;

/// Weights from a formula, except for one row of the position embeddings whose results overflow f32.
struct Poisoned<'a> {
    graph: &'a Graph,
    weights: Synthetic,
}

impl WeightSource for Poisoned<'_> {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        let tensor = self.weights.tensor(parameter)?;
        let shape = &self.graph.parameter(parameter).shape;
        if !self.graph.parameter(parameter).name.contains("position_embeddings") {
            return Ok(tensor);
        }
        let mut values = tensor.into_f32().into_owned();
        values[POISON * shape[1]..][..shape[1]].fill(f32::MAX);
        Ok(Tensor::F32(values.into()))
    }
}

fn engine(head: Head, poisoned: bool, options: EngineOptions) -> Engine {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let graph = model::build(&config, head);
    let weights = Synthetic::new(&graph);
    if !poisoned {
        return Engine::from_weights(config, graph, &weights, options).unwrap();
    }
    let copy = graph.clone();
    Engine::from_weights(config, graph, &Poisoned { graph: &copy, weights }, options).unwrap()
}

fn batch(sequences: &[&[u32]]) -> Batch {
    let mut batch = Batch::new();
    for ids in sequences {
        batch.push(ids, &vec![0; ids.len()]).unwrap();
    }
    batch
}

#[test]
fn a_row_that_is_not_finite_belongs_to_its_owner_only() {
    let engine = engine(Head::QuestionAnswering, true, EngineOptions::new().precision(Precision::F32));
    let (first, bad, last) = (&[1, 2, 3][..], &[4, 5, 6, 7][..], &[8, 9][..]);
    let together = batch(&[first, bad, last]);
    let output = engine.forward_any(&together).unwrap();
    let (row, value) = output.not_finite(together.range(1)).unwrap();
    assert!(together.range(1).contains(&row) && !value.is_finite());
    for (sequence, alone) in [(0, first), (2, last)] {
        let range = together.range(sequence);
        assert_eq!(output.not_finite(range.clone()), None);
        let alone = engine.forward(&batch(&[alone])).unwrap();
        let width = output.width();
        assert_eq!(output.values()[range.start * width..range.end * width], *alone.values());
    }
    let error = engine.forward(&together).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFinite { row: 3..7, .. }), "{error}");
}

#[test]
fn requested_rows_may_be_not_finite_too() {
    let engine = engine(Head::MaskedLm, true, EngineOptions::new().precision(Precision::F32));
    let together = batch(&[&[1, 2], &[3, 4, 5, 6]]);
    let output = engine.forward_rows_any(&together, &[3, 1]).unwrap();
    assert_eq!(output.rows(), 2);
    assert!(output.not_finite(0..1).is_some());
    assert_eq!(output.not_finite(1..2), None);
    assert!(engine.forward_rows(&together, &[3, 1]).is_err());
}

/// If all sequences have one token, the number of rows does not show whether a row belongs to a token or to a
/// sequence.
#[test]
fn the_unit_of_a_row_does_not_depend_on_the_batch() {
    let unit = |head| engine(head, false, EngineOptions::new()).row_unit();
    assert_eq!(unit(Head::None), RowUnit::Token);
    assert_eq!(unit(Head::QuestionAnswering), RowUnit::Token);
    assert_eq!(unit(Head::TokenClassification), RowUnit::Token);
    assert_eq!(unit(Head::SequenceClassification), RowUnit::Sequence);
    assert_eq!(unit(Head::MaskedLm), RowUnit::Requested);
}

#[test]
fn memory_between_passes_is_counted_and_freed() {
    for precision in [Precision::Int8, Precision::F32] {
        let engine = engine(Head::QuestionAnswering, false, EngineOptions::new().precision(precision));
        assert_eq!(engine.arena_bytes(), 0);
        let small = batch(&[&[1, 2, 3]]);
        let expected = engine.forward(&small).unwrap();
        let after_small = engine.arena_bytes();
        let big = batch(&[&[7; 300], &[8; 200]]);
        let expected_big = engine.forward(&big).unwrap();
        let after_big = engine.arena_bytes();
        // The arena has at least the hidden states, which are 500 rows of 512 f32.
        assert!(after_big > after_small && after_big > 500 * 512 * 4, "{after_small}, {after_big}");
        engine.trim();
        assert_eq!(engine.arena_bytes(), 0);
        assert_eq!(engine.forward(&small).unwrap(), expected);
        assert_eq!(engine.arena_bytes(), after_small);
        assert_eq!(engine.forward(&big).unwrap(), expected_big);
    }
}

/// A backend that computes nothing. It returns `i, 0.5, 0.5, ...` as row `i`, or too few numbers if its
/// factory asks for it.
struct Toy {
    graph: Graph,
    missing: usize,
}

impl Backend for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn kernel(&self) -> &str {
        "constants"
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<f32>> {
        let width = self.graph.width(self.graph.output());
        let mut values = vec![0.5; request.output_rows(&self.graph) * width];
        values.chunks_exact_mut(width).enumerate().for_each(|(i, row)| row[0] = i as f32);
        values.truncate(values.len() - self.missing);
        Ok(values)
    }
}

/// The options that an engine passed on: precision, stored precision, modules in f32.
type Asked = (Option<Precision>, Precision, Vec<String>);

#[derive(Debug, Default)]
struct ToyFactory {
    missing: usize,
    asked: Mutex<Vec<Asked>>,
}

impl BackendFactory for ToyFactory {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn load(
        &self,
        graph: Graph,
        weights: &dyn WeightSource,
        options: &LoadOptions<'_>,
    ) -> Result<Box<dyn Backend>> {
        weights.tensor(ParameterId(0))?;
        let asked = (options.precision, options.stored, options.keep_f32.to_vec());
        self.asked.lock().unwrap().push(asked);
        Ok(Box::new(Toy { graph, missing: self.missing }))
    }
}

#[test]
fn a_backend_from_outside_runs_in_engines_and_pipelines() {
    let factory = Arc::new(ToyFactory::default());
    let options = || EngineOptions::new().backend(Arc::clone(&factory));
    let engine = Engine::open("qa", options().precision(Precision::Bf16).keep_f32(["embeddings"])).unwrap();
    assert_eq!((engine.backend().name(), engine.arena_bytes()), ("toy", 0));
    let logits = engine.forward(&batch(&[&[101, 7592, 102], &[101, 102]])).unwrap();
    assert_eq!(logits.values(), [0.0, 0.5, 1.0, 0.5, 2.0, 0.5, 3.0, 0.5, 4.0, 0.5]);

    let plain = EmbedOptions::with(|o| o.normalize = Some(false));
    let embedder = Embedder::open_with("qa", options(), plain).unwrap();
    let embedding = embedder.embed("hello there").unwrap().embedding;
    assert!(embedding[1..].iter().all(|&x| x == 0.5), "{embedding:?}");

    let asked = factory.asked.lock().unwrap();
    let (precision, stored, keep_f32) = &asked[0];
    assert_eq!((*precision, *stored), (Some(Precision::Bf16), Precision::Int8));
    assert_eq!(keep_f32.last().map(String::as_str), Some("embeddings"));
    assert_eq!(asked[1].0, None);
}

#[test]
fn a_backend_that_returns_too_little_is_an_error() {
    let engine = engine(
        Head::SequenceClassification,
        false,
        EngineOptions::new().backend(ToyFactory { missing: 1, ..ToyFactory::default() }),
    );
    let error = engine.forward(&batch(&[&[1, 2], &[3]])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Backend { backend: "toy", .. }), "{error}");
    assert!(error.to_string().contains("3 numbers instead of 2 rows of 2"), "{error}");
}

/// The server compares the same hashes when it loads a model. Int8 has the same bits on every machine.
#[test]
fn built_in_models_compute_what_their_folders_say() {
    for name in mobilebert::BUILT_IN {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        let file = std::fs::read(folder.join("self-check.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&file).unwrap();
        let found = Engine::open(folder, EngineOptions::new()).unwrap().self_check().unwrap();
        assert_eq!(expected["logits_sha256"], found, "{name}");
    }
}
