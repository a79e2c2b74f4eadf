//! Tests checkpoints that do not fit their configuration, and configurations that must be refused.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::format::{Bytes, Checkpoint, WeightSource};
use mobilebert::graph::ParameterId;
use mobilebert::model::Weights;
use mobilebert::{Error, ErrorKind, ModelConfig, TensorProblem, model};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

const WEIGHT: &str = "mobilebert.encoder.layer.1.attention.self.query.weight";
const NORM: &str = "mobilebert.encoder.layer.0.ffn.0.output.LayerNorm.weight";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32")
}

fn config() -> Value {
    let text = fs::read_to_string(folder().join("config.json")).expect("config.json");
    serde_json::from_str(&text).expect("JSON")
}

/// A checkpoint that a test edits: type, shape and bytes of each tensor by name.
struct Model {
    config: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Model {
    fn new() -> Self {
        let bytes = fs::read(folder().join("model.safetensors")).expect("the golden");
        let file = SafeTensors::deserialize(&bytes).expect("a valid file");
        let tensor = |(name, view): (String, TensorView<'_>)| {
            (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        Self { config: config(), tensors: file.tensors().into_iter().map(tensor).collect() }
    }

    fn tensor(&mut self, name: &str) -> &mut (Dtype, Vec<usize>, Vec<u8>) {
        self.tensors.get_mut(name).expect(name)
    }

    fn set(&mut self, name: &str, dtype: Dtype, shape: &[usize], byte: u8) {
        let size = dtype.bitsize() / 8 * shape.iter().product::<usize>();
        self.tensors.insert(name.to_owned(), (dtype, shape.to_vec(), vec![byte; size]));
    }

    /// Changes one weight to int8, with scales of 1.
    fn quantize(&mut self, name: &str) {
        let shape = self.tensor(name).1.clone();
        self.set(name, Dtype::I8, &shape, 3);
        self.set(&format!("{name}_scale"), Dtype::F32, &shape[..1], 0);
        self.tensor(&format!("{name}_scale")).2 = 1f32.to_le_bytes().repeat(shape[0]);
        self.config["quantization_config"] =
            json!({"quant_method": "mobilebert-int8", "bits": 8, "scale_suffix": "_scale"});
    }

    /// Changes one weight of shape `[8, 8]` to 4 bits: every number is 1, with scales and multipliers of 1.
    fn quantize_int4(&mut self, name: &str) {
        self.set(name, Dtype::U8, &[8, 4], 0x11);
        self.set(&format!("{name}_group"), Dtype::U8, &[8, 1], 1);
        self.set(&format!("{name}_scale"), Dtype::F32, &[8], 0);
        self.tensor(&format!("{name}_scale")).2 = 1f32.to_le_bytes().repeat(8);
        self.config["quantization_config"] =
            json!({"quant_method": "mobilebert-int8", "bits": 4, "group_size": 32, "scale_suffix": "_scale"});
    }

    /// Opens the checkpoint and reads every tensor of the graph.
    fn open(&self) -> Result<(), Error> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a consistent tensor"))
        });
        let bytes = safetensors::serialize(views, None).expect("a file");
        let config = ModelConfig::from_json(&self.config.to_string())?;
        let graph = model::build(&config, config.head);
        let mut checkpoint = Checkpoint::default();
        checkpoint.add_safetensors("test.safetensors", Bytes::Owned(bytes))?;
        let weights = Weights::bind(checkpoint, &config, &graph)?;
        (0..graph.parameters.len()).try_for_each(|i| weights.tensor(ParameterId(i)).map(drop))
    }

    /// Returns the tensor and its problem from an error that names the file.
    fn problem(&self) -> (String, TensorProblem) {
        let error = self.open().expect_err("refused");
        let ErrorKind::Tensor { file, tensor, problem } = error.kind() else { panic!("{error}") };
        assert_eq!(file, "test.safetensors");
        assert!(error.to_string().contains(tensor.as_str()), "{error}");
        (tensor.clone(), problem.clone())
    }

    /// Returns the tensors and their problems from an error about several tensors, and their total number.
    fn problems(&self) -> (Vec<(String, TensorProblem)>, usize) {
        let error = self.open().expect_err("refused");
        let ErrorKind::Tensors { file, problems, total } = error.kind() else { panic!("{error}") };
        assert_eq!(file, "test.safetensors");
        let message = error.to_string();
        assert!(message.contains(&format!("{total} tensors")), "{message}");
        assert!(problems.iter().all(|(tensor, _)| message.contains(tensor.as_str())), "{message}");
        (problems.clone(), *total)
    }
}

#[test]
fn the_golden_is_accepted_in_f32_and_int8() {
    let mut model = Model::new();
    model.open().expect("a model");
    model.quantize(WEIGHT);
    model.open().expect("a model");
}

#[test]
fn missing_tensors_come_with_the_nearest_name() {
    let mut model = Model::new();
    let tensor = model.tensors.remove(WEIGHT).expect("the weight");
    let renamed = WEIGHT.replace("mobilebert.", "backbone.");
    model.tensors.insert(renamed.clone(), tensor);
    let expected = TensorProblem::Missing { expected: vec![8, 8], nearest: Some(renamed.clone()) };
    let unknown = (renamed.clone(), TensorProblem::Unknown);
    assert_eq!(model.problems(), (vec![(WEIGHT.to_owned(), expected), unknown], 2));
    assert!(
        model.open().expect_err("refused").to_string().contains(&format!("(the file has `{renamed}`)\n"))
    );

    model.tensors.remove(&renamed);
    assert!(matches!(model.problem().1, TensorProblem::Missing { .. }));
}

#[test]
fn all_problems_are_counted_and_the_first_ten_shown() {
    let mut model = Model::new();
    let total = model.tensors.len();
    model.tensors.clear();
    let (problems, found) = model.problems();
    assert_eq!((problems.len(), found), (10, total));
    assert!(problems.iter().all(|(_, p)| matches!(p, TensorProblem::Missing { nearest: None, .. })));
    let message = model.open().expect_err("refused").to_string();
    assert!(message.ends_with(&format!("\n  and {} more", total - 10)), "{message}");

    let mut model = Model::new();
    model.set(WEIGHT, Dtype::F32, &[8, 7], 0);
    model.set(NORM, Dtype::I64, &[8], 0);
    model.set("lora.weight", Dtype::F32, &[1], 0);
    let (problems, found) = model.problems();
    assert_eq!((problems.len(), found), (3, 3), "{problems:?}");
    let of = |name: &str| &problems.iter().find(|(tensor, _)| tensor == name).expect(name).1;
    assert!(matches!(of(WEIGHT), TensorProblem::Shape { .. }));
    assert!(matches!(of(NORM), TensorProblem::Dtype { .. }));
    assert_eq!(*of("lora.weight"), TensorProblem::Unknown);
}

#[test]
fn tensors_of_other_heads_are_known_by_their_exact_names() {
    for name in [
        "cls.predictions.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.dense.weight",
        "cls.predictions.transform.LayerNorm.gamma",
        "cls.seq_relationship.bias",
        "classifier.weight",
        "pooler.dense.weight",
        "mobilebert.pooler.dense.bias",
        "mobilebert.embeddings.position_ids",
    ] {
        let mut model = Model::new();
        model.set(name, Dtype::F32, &[1], 0);
        model.open().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for name in [
        "cls.predictions.lora.weight",
        "cls.weight",
        "classifier.dense.weight",
        "classifier.0.weight",
        "pooler.weight",
        "pooler.LayerNorm.weight",
        "qa_outputs.scale",
        "mobilebert.classifier.weight",
        "mobilebert.embeddings.embedding_transformation.lora",
        "mobilebert.encoder.layer.0.bottleneck.attention.lora.weight",
    ] {
        let mut model = Model::new();
        model.set(name, Dtype::F32, &[1], 0);
        assert_eq!(model.problem(), (name.to_owned(), TensorProblem::Unknown));
    }
}

#[test]
fn unknown_tensors_are_named() {
    for name in ["mobilebert.encoder.layer.2.attention.self.query.weight", "lora.weight", ""] {
        let mut model = Model::new();
        model.set(name, Dtype::F32, &[1], 0);
        assert_eq!(model.problem(), (name.to_owned(), TensorProblem::Unknown));
    }
}

#[test]
fn shapes_must_be_those_of_the_configuration() {
    for shape in [&[8, 7][..], &[64], &[8, 8, 1], &[0, 8], &[]] {
        let mut model = Model::new();
        model.set(WEIGHT, Dtype::F32, shape, 0);
        let expected = TensorProblem::Shape { expected: vec![8, 8], found: shape.to_vec() };
        assert_eq!(model.problem(), (WEIGHT.to_owned(), expected));
    }
    let mut model = Model::new();
    model.config["vocab_size"] = json!(1 << 22);
    model.config["max_position_embeddings"] = json!(1 << 22);
    assert!(model.problems().0.iter().all(|(_, p)| matches!(p, TensorProblem::Shape { .. })));
}

#[test]
fn types_must_be_readable() {
    for (dtype, name) in [(Dtype::I64, "I64"), (Dtype::U8, "U8"), (Dtype::BOOL, "BOOL"), (Dtype::I32, "I32")]
    {
        let mut model = Model::new();
        model.set(WEIGHT, dtype, &[8, 8], 0);
        let (tensor, problem) = model.problem();
        let expected = "F32, F16, BF16 or F64";
        assert_eq!(
            (tensor.as_str(), problem),
            (WEIGHT, TensorProblem::Dtype { expected, found: name.into() })
        );
    }
}

#[test]
fn int8_needs_its_configuration_and_its_scales() {
    let mut model = Model::new();
    model.quantize(WEIGHT);
    model.config.as_object_mut().expect("an object").remove("quantization_config");
    let error = model.open().expect_err("refused").to_string();
    assert!(error.contains("int8 needs `quantization_config` in config.json"), "{error}");

    let scale = format!("{WEIGHT}_scale");
    let mut model = Model::new();
    model.quantize(WEIGHT);
    model.tensors.remove(&scale);
    let missing = TensorProblem::Missing { expected: vec![8], nearest: None };
    assert_eq!(model.problem(), (scale.clone(), missing));

    model.set(&scale, Dtype::F32, &[7], 0);
    let shape = TensorProblem::Shape { expected: vec![8], found: vec![7] };
    assert_eq!(model.problem(), (scale.clone(), shape));

    model.set(&scale, Dtype::I8, &[8], 1);
    assert!(matches!(model.problem(), (tensor, TensorProblem::Dtype { .. }) if tensor == scale));

    model.set(&scale, Dtype::F32, &[8], 0);
    assert_eq!(model.problem(), (scale.clone(), TensorProblem::Scale { index: 0, value: 0.0 }));

    model.quantize(WEIGHT);
    model.tensor(WEIGHT).2[5] = 0x80;
    assert_eq!(model.problem(), (WEIGHT.to_owned(), TensorProblem::Asymmetric { index: 5 }));
}

#[test]
fn four_bits_need_their_scales_and_multipliers() {
    let (scale, group) = (format!("{WEIGHT}_scale"), format!("{WEIGHT}_group"));
    let four = || {
        let mut model = Model::new();
        model.quantize_int4(WEIGHT);
        model
    };
    four().open().expect("a model");
    // A model that declares 8 bits may not have tensors of 4 bits, but one that declares 4 bits may have int8
    // tensors.
    let mut model = four();
    model.config["quantization_config"]["bits"] = json!(8);
    assert!(
        model
            .problems()
            .0
            .iter()
            .any(|(tensor, p)| tensor == WEIGHT && matches!(p, TensorProblem::Dtype { .. }))
    );
    let mut model = four();
    model.set(WEIGHT, Dtype::I8, &[8, 8], 1);
    model.tensors.remove(&group);
    model.open().expect("a model");

    for (name, expected) in [(&scale, vec![8]), (&group, vec![8, 1])] {
        let mut model = four();
        model.tensors.remove(name);
        assert_eq!(model.problem(), (name.clone(), TensorProblem::Missing { expected, nearest: None }));
    }
    let shape = |expected: &[usize], found: &[usize]| TensorProblem::Shape {
        expected: expected.to_vec(),
        found: found.to_vec(),
    };
    for found in [&[8, 8][..], &[8, 3], &[32], &[4, 8]] {
        let mut model = four();
        model.set(WEIGHT, Dtype::U8, found, 0x11);
        assert_eq!(model.problem(), (WEIGHT.to_owned(), shape(&[8, 4], found)));
    }
    for found in [&[8][..], &[8, 2], &[1, 8], &[0, 1]] {
        let mut model = four();
        model.set(&group, Dtype::U8, found, 1);
        assert_eq!(model.problem(), (group.clone(), shape(&[8, 1], found)));
    }
    let mut model = four();
    model.set(&scale, Dtype::F32, &[8, 1], 1);
    assert_eq!(model.problem(), (scale.clone(), shape(&[8], &[8, 1])));
    for (name, dtype, shape) in [(&group, Dtype::I8, &[8, 1][..]), (&scale, Dtype::U8, &[8])] {
        let mut model = four();
        model.set(name, dtype, shape, 1);
        assert!(
            matches!(model.problem(), (tensor, TensorProblem::Dtype { .. }) if tensor == *name),
            "{name}"
        );
    }
}

#[test]
fn four_bits_stay_in_range() {
    let (scale, group) = (format!("{WEIGHT}_scale"), format!("{WEIGHT}_group"));
    let with = |tensor: &str, at: usize, bytes: &[u8]| {
        let mut model = Model::new();
        model.quantize_int4(WEIGHT);
        model.tensor(tensor).2[at..at + bytes.len()].copy_from_slice(bytes);
        model
    };
    for byte in [0x08, 0x80, 0x88, 0x78, 0x87] {
        let problem = TensorProblem::AsymmetricInt4 { index: 5 };
        assert_eq!(with(WEIGHT, 5, &[byte]).problem(), (WEIGHT.to_owned(), problem), "{byte:#x}");
    }
    for byte in [0x00, 0x77, 0x99, 0xff, 0x97] {
        with(WEIGHT, 5, &[byte]).open().expect("a model");
    }
    for value in [0, 19, 128, 255] {
        let problem = TensorProblem::Multiplier { index: 7, value };
        assert_eq!(with(&group, 7, &[value]).problem(), (group.clone(), problem));
    }
    with(&group, 7, &[18]).open().expect("a model");
    for value in [0.0, -1.0] {
        let problem = TensorProblem::Scale { index: 1, value };
        assert_eq!(with(&scale, 4, &value.to_le_bytes()).problem(), (scale.clone(), problem));
    }
    for value in [f32::NAN, f32::INFINITY] {
        let model = with(&scale, 4, &value.to_le_bytes());
        assert!(
            matches!(model.problem(), (tensor, TensorProblem::NotFinite { index: 1, .. }) if tensor == scale)
        );
    }
}

#[test]
fn weights_must_be_finite() {
    for value in [f32::INFINITY, f32::NEG_INFINITY] {
        let mut model = Model::new();
        model.tensor(NORM).2[8..12].copy_from_slice(&value.to_le_bytes());
        assert_eq!(model.problem(), (NORM.to_owned(), TensorProblem::NotFinite { index: 2, value }));
    }
    for (dtype, nan) in [(Dtype::F32, 4), (Dtype::F16, 2), (Dtype::BF16, 2), (Dtype::F64, 8)] {
        let mut model = Model::new();
        model.set(NORM, dtype, &[8], 0xff);
        model.tensor(NORM).2[..nan].fill(0);
        assert!(matches!(model.problem().1, TensorProblem::NotFinite { index: 1, value } if value.is_nan()));
    }
    // The number is finite in f64 but not in f32, which the engine computes in.
    let mut model = Model::new();
    model.set(NORM, Dtype::F64, &[8], 0);
    model.tensor(NORM).2[..8].copy_from_slice(&1e300f64.to_le_bytes());
    let expected = TensorProblem::NotFinite { index: 0, value: f32::INFINITY };
    assert_eq!(model.problem(), (NORM.to_owned(), expected));
}

mod config {
    use super::*;

    /// Returns the field that the error names if the configuration has `name: value`, or `None` if it is
    /// accepted.
    fn blamed(name: &str, value: Value) -> Option<String> {
        let mut config = super::config();
        config[name] = value;
        let error = ModelConfig::from_json(&config.to_string()).err()?;
        let ErrorKind::Config { field, .. } = error.kind() else { panic!("{error}") };
        assert!(error.to_string().len() < 1000, "{error}");
        Some(field.clone())
    }

    #[test]
    fn sizes() {
        let sizes = [
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
            "embedding_size",
            "intra_bottleneck_size",
            "num_feedforward_networks",
        ];
        for name in sizes {
            for value in [
                json!(0),
                json!(-1),
                json!(1.5),
                json!(1u64 << 40),
                json!(u64::MAX),
                json!(1e300),
                json!("8"),
                json!([8]),
                json!({}),
                json!(true),
            ] {
                assert_eq!(blamed(name, value.clone()).as_deref(), Some(name), "{name}: {value}");
            }
        }
    }

    #[test]
    fn everything_else() {
        let switches = [
            "tie_word_embeddings",
            "trigram_input",
            "use_bottleneck",
            "use_bottleneck_attention",
            "key_query_shared_bottleneck",
            "classifier_activation",
            "is_decoder",
            "add_cross_attention",
        ];
        let names =
            ["model_type", "hidden_act", "normalization_type", "problem_type", "position_embedding_type"];
        for name in switches {
            for value in [json!(0), json!("true"), json!([]), json!({})] {
                assert_eq!(blamed(name, value.clone()).as_deref(), Some(name), "{name}: {value}");
            }
        }
        for name in names {
            for value in [json!(0), json!("x".repeat(1 << 20)), json!([]), json!(true), json!({"a": 1})] {
                assert_eq!(blamed(name, value).as_deref(), Some(name), "{name}");
            }
        }
        for (name, value) in [
            ("layer_norm_eps", json!(-1e-12)),
            ("layer_norm_eps", json!("1e-12")),
            ("layer_norm_eps", json!(1e300)),
            ("architectures", json!("MobileBertModel")),
            ("architectures", json!([1])),
            ("architectures", json!(["T5Model"])),
            ("architectures", json!(["BertForQuestionAnswering"])),
            ("architectures", json!(["ForQuestionAnswering"])),
            ("architectures", json!(["MobileMobileBertModel"])),
            ("id2label", json!([])),
            ("id2label", json!({})),
            ("id2label", json!({"1": "a"})),
            ("id2label", json!({"0": [1]})),
            ("id2label", json!({"00": "a"})),
            ("quantization_config", json!([])),
            ("quantization_config", json!({"quant_method": "bitsandbytes"})),
            ("quantization_config", json!({"quant_method": "mobilebert-int8", "bits": 2})),
            ("quantization_config", json!({"quant_method": "mobilebert-int8", "bits": 4})),
            ("quantization_config", json!({"quant_method": "mobilebert-int8", "bits": 4, "group_size": 0})),
            (
                "quantization_config",
                json!({"quant_method": "mobilebert-int8", "bits": 4, "group_size": 32, "scale_suffix": "_scale", "keep_int8": [""]}),
            ),
            (
                "quantization_config",
                json!({"quant_method": "mobilebert-int8", "bits": 8, "scale_suffix": ""}),
            ),
        ] {
            let field = blamed(name, value.clone());
            assert!(field.as_ref().is_some_and(|f| f.starts_with(name)), "{name}: {value}: {field:?}");
        }
    }

    #[test]
    fn the_class_is_of_the_family_that_the_model_type_names() {
        for (model_type, right, wrong) in
            [("bert", "BertModel", "MobileBertModel"), ("mobilebert", "MobileBertModel", "BertModel")]
        {
            let read = |class: &str| {
                ModelConfig::from_json(
                    &json!({"model_type": model_type, "architectures": [class]}).to_string(),
                )
            };
            assert_eq!(read(right).expect("a model").class_name(), right);
            let error = read(wrong).expect_err("refused").to_string();
            assert!(error.contains("`architectures`") && error.contains("as `model_type` says"), "{error}");
        }
    }

    #[test]
    fn graphs_stay_small() {
        assert_eq!(blamed("num_hidden_layers", json!(4_000_000)).as_deref(), Some("num_hidden_layers"));
        let field = "num_feedforward_networks";
        assert_eq!(blamed(field, json!(4096)).as_deref(), Some(field));
        let text =
            r#"{"model_type": "mobilebert", "num_hidden_layers": 1000, "num_feedforward_networks": 4}"#;
        let config = ModelConfig::from_json(text).expect("the largest allowed");
        assert!(model::build(&config, config.head).parameters.len() > 40_000);
    }

    #[test]
    fn other_files() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        for text in ["", "{", "nul", "\u{0}", "{\"model_type\": 1e999}", &deep] {
            let error = ModelConfig::from_json(text).expect_err("refused");
            assert!(matches!(error.kind(), ErrorKind::Json { .. }), "{error}");
        }
        for text in ["[]", "1", "null", "{}"] {
            let error = ModelConfig::from_json(text).expect_err("refused");
            assert!(matches!(error.kind(), ErrorKind::Config { .. }), "{error}");
        }
    }
}
