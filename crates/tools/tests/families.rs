//! Passes DistilBERT and ELECTRA folders through everything that takes a model: pipelines, convert, quantize,
//! gate and training.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::pipeline::score_choices;
use mobilebert::{
    Engine, EngineOptions, ErrorKind, Family, FillMask, Head, ModelConfig, ModelFiles, QuestionAnswering,
    TextClassification,
};
use mobilebert_tools::convert::{self, ConvertOptions};
use mobilebert_tools::gate::{self, GateOptions};
use mobilebert_tools::task::Task;
use mobilebert_tools::writer;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
}

fn path(folder: &Path) -> &str {
    folder.to_str().unwrap()
}

fn int8(source: &Path, to: PathBuf) -> PathBuf {
    writer::to_int8(&ModelFiles::Folder(source.to_owned()), &to).unwrap();
    to
}

/// Returns the label and score of the best class of a text.
fn classes(model: &Path, text: &str) -> Vec<(String, f32)> {
    let found = TextClassification::open(path(model)).unwrap().classify(text).unwrap();
    let mut classes: Vec<_> = found.labels.iter().map(|l| (l.label.clone(), l.score)).collect();
    classes.sort_by(|a, b| a.0.cmp(&b.0));
    classes
}

#[test]
fn a_distilbert_is_converted_quantised_and_classifies() {
    let target = tempfile::tempdir().unwrap();
    let (original, converted) = (golden("distilbert-f32"), target.path().join("converted"));
    let report = convert::convert(
        path(&original),
        &converted,
        &ConvertOptions::new().verify(cfg!(feature = "candle")),
        &|_, _| {},
    )
    .unwrap();
    assert_eq!(report.class, "DistilBertForSequenceClassification");
    assert_eq!(report.verification.is_some(), cfg!(feature = "candle"));
    assert_eq!(report.notes, Vec::<String>::new());
    let config = fs::read_to_string(converted.join("config.json")).unwrap();
    for field in
        ["\"dim\": 16", "\"n_layers\": 2", "\"n_heads\": 2", "\"hidden_dim\": 24", "\"activation\": \"gelu\""]
    {
        assert!(config.contains(field), "{field}: {config}");
    }
    for field in ["hidden_size", "type_vocab_size", "layer_norm_eps"] {
        assert!(!config.contains(field), "{field}: {config}");
    }
    let text = "paris is a very good city";
    let expected = classes(&original, text);
    assert_eq!(classes(&converted, text), expected);

    let quantised = int8(&converted, target.path().join("int8"));
    let tensors = mobilebert::format::Checkpoint::open_folder(&quantised).unwrap();
    assert!(tensors.entry("distilbert.transformer.layer.1.ffn.lin2.weight_scale").is_some());
    assert!(tensors.entry("pre_classifier.weight_scale").is_some());
    let found = classes(&quantised, text);
    assert_ne!(found, expected, "int8 rounds");
    for ((label, score), (same, near)) in expected.iter().zip(&found) {
        assert!(label == same && (score - near).abs() < 0.01, "{expected:?} {found:?}");
    }
}

#[test]
fn the_tied_copy_in_a_pytorch_file_is_left_out() {
    let target = tempfile::tempdir().unwrap();
    let (original, converted) = (golden("distilbert-mlm-bin"), target.path().join("converted"));
    let report = convert::convert(path(&original), &converted, &ConvertOptions::new(), &|_, _| {}).unwrap();
    assert_eq!(report.class, "DistilBertForMaskedLM");
    assert!(
        matches!(&report.notes[..], [note] if note.ends_with("never reads them: vocab_projector.weight")),
        "{:?}",
        report.notes
    );
    let words = |folder: &Path| {
        let fills = FillMask::open(path(folder)).unwrap().fill("paris is a [MASK] city").unwrap();
        format!("{fills:?}")
    };
    assert_eq!(words(&converted), words(&original));
}

#[test]
fn an_electra_answers_in_int8() {
    let target = tempfile::tempdir().unwrap();
    let original = golden("electra-f32");
    let quantised = int8(&original, target.path().join("int8"));
    let best = |model: &Path| {
        let pipeline = QuestionAnswering::open(path(model)).unwrap();
        pipeline.answer("where is it?", "it is in paris, a city of france.").unwrap()
    };
    let (expected, found) = (best(&original), best(&quantised));
    assert!(!expected.answer.is_empty() && (expected.score - found.score).abs() < 0.05 * expected.score);
}

#[test]
fn the_gate_takes_a_distilbert() {
    let target = tempfile::tempdir().unwrap();
    let source = golden("distilbert-f32");
    let label = |text: &str| {
        let found = TextClassification::open(path(&source)).unwrap().classify(text).unwrap();
        found.best().unwrap().label.clone()
    };
    let rows = ["good film", "bad film", "paris wrote a book", "not very good"]
        .map(|text| format!("{text}\t{}\n", label(text)));
    let data = target.path().join("data.tsv");
    fs::write(&data, format!("text\tlabel\n{}", rows.concat())).unwrap();
    let to = target.path().join("int8");
    let options = GateOptions::new(Task::Labels).max_drop(100.0);
    let report = gate::quantize(path(&source), &to, &data, &options, &|_, _, _| {}).unwrap();
    assert_eq!((report.items.total, report.items.a.scores.main()), (4, 100.0));
    assert_eq!(classes(&to, "good film").len(), 1);
}

#[cfg(feature = "candle")]
#[test]
fn a_distilbert_learns() {
    use mobilebert_tools::train::{self, FinetuneOptions};
    let target = tempfile::tempdir().unwrap();
    let data = target.path().join("data.tsv");
    fs::write(&data, "text\tlabel\n".to_owned() + &"good film\tpositive\nbad film\tnegative\n".repeat(8))
        .unwrap();
    let to = target.path().join("tuned");
    let options = FinetuneOptions::new(Task::Labels).epochs(8).batch(8).rate(0.01);
    train::finetune(path(&golden("distilbert-f32")), &to, &data, None, &options, &|_| {}).unwrap();
    for (text, label) in [("good film", "positive"), ("bad film", "negative")] {
        let found = TextClassification::open(path(&to)).unwrap().classify(text).unwrap();
        assert_eq!(found.best().unwrap().label, label);
    }
}

#[test]
fn choices_are_scored_one_by_one() {
    let files = ModelFiles::Folder(golden("electra-choice-f32"));
    let tokenizer = files.tokenizer().unwrap();
    let engine = Engine::from_files(&files, None, EngineOptions::new()).unwrap();
    let score = |choices: &[&str]| score_choices(&tokenizer, &engine, "who wrote it?", choices).unwrap();
    let (a, b) = (score(&["anna wrote it."])[0], score(&["the king."])[0]);
    assert_ne!(a, b);
    assert_eq!(score(&["the king.", "anna wrote it."]), [b, a]);
    assert_eq!(score(&[]), [0.0; 0]);

    // The choice is the second text of its pair.
    let pair = tokenizer.encode_pair("who wrote it?", "the king.").unwrap();
    let batch = mobilebert::Batch::single(pair.ids(), pair.type_ids()).unwrap();
    assert_eq!(engine.forward(&batch).unwrap().values(), [b]);
}

#[test]
fn heads_are_not_mixed_up() {
    let wrong = |error: mobilebert::Error| match error.kind() {
        ErrorKind::WrongTask { trained_for, expected, found, .. } => {
            (trained_for.to_string(), expected.clone(), found.clone())
        }
        _ => panic!("{error}"),
    };
    let error = TextClassification::open(path(&golden("electra-choice-f32"))).unwrap_err();
    let (trained_for, expected, found) = wrong(error);
    assert_eq!((trained_for.as_str(), found.as_str()), ("multiple choice", "ElectraForMultipleChoice"));
    assert!(expected.contains(&"DistilBertForSequenceClassification".to_owned()), "{expected:?}");

    let files = ModelFiles::Folder(golden("electra-f32"));
    let tokenizer = files.tokenizer().unwrap();
    let engine = Engine::from_files(&files, None, EngineOptions::new()).unwrap();
    assert_eq!(wrong(score_choices(&tokenizer, &engine, "a", &["b"]).unwrap_err()).0, "question answering");

    // The encoder of a multiple-choice model has a row for each token.
    let files = ModelFiles::Folder(golden("electra-choice-f32"));
    let encoder = Engine::from_files(&files, Some(Head::None), EngineOptions::new()).unwrap();
    let error = score_choices(&tokenizer, &encoder, "a", &["b"]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "engine", .. }), "{error}");
}

#[test]
fn a_configuration_is_read_as_it_is_written() {
    for family in Family::all() {
        for suffix in ["Model", "ForQuestionAnswering", "ForMaskedLM", "ForMultipleChoice"] {
            let prefix = family.class_name(Head::None).replace("Model", "");
            let json = format!(
                r#"{{"model_type": "{}", "architectures": ["{prefix}{suffix}"], "vocab_size": 77}}"#,
                family.model_type()
            );
            let config = ModelConfig::from_json(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
            assert_eq!(config.class_name(), format!("{prefix}{suffix}"));
            let again = serde_json::Value::Object(config.to_fields()).to_string();
            assert_eq!(ModelConfig::from_json(&again).unwrap(), config, "{again}");
        }
    }
}

/// The expected values are the defaults of `DistilBertConfig` and `ElectraConfig` in transformers 5.23.
#[test]
fn families_have_the_defaults_of_the_original() {
    let sizes = |model_type: &str| {
        let c = ModelConfig::from_json(&format!(r#"{{"model_type": "{model_type}"}}"#)).unwrap();
        let embedding = (c.vocab_size, c.embedding_size, c.max_position_embeddings, c.type_vocab_size);
        (embedding, [c.hidden_size, c.num_hidden_layers, c.num_attention_heads, c.intermediate_size])
    };
    assert_eq!(sizes("distilbert"), ((30522, 768, 512, 0), [768, 6, 12, 3072]));
    assert_eq!(sizes("electra"), ((30522, 128, 512, 2), [256, 12, 4, 1024]));
    assert_eq!(sizes("bert"), ((30522, 768, 512, 2), [768, 12, 12, 3072]));
    assert_eq!(sizes("mobilebert"), ((30522, 128, 512, 2), [512, 24, 4, 512]));
}

#[test]
fn errors_name_the_fields_of_the_family() {
    let error = |json: &str| ModelConfig::from_json(json).unwrap_err().to_string();
    let found = error(r#"{"model_type": "distilbert", "n_heads": 5}"#);
    assert!(found.contains("`n_heads` is 5; expected a divisor of 768"), "{found}");
    let found = error(r#"{"model_type": "distilbert", "activation": "mish"}"#);
    assert!(
        found.contains("`activation` is \"mish\"; expected one of \"relu\", \"gelu\", \"gelu_python\""),
        "{found}"
    );
    let found = error(r#"{"model_type": "distilbert", "dim": 0}"#);
    assert!(found.contains("`dim` is 0"), "{found}");
    let found = error(r#"{"model_type": "roberta"}"#);
    assert!(found.contains("one of \"bert\", \"mobilebert\", \"distilbert\", \"electra\""), "{found}");
    let found = error(r#"{"model_type": "distilbert", "architectures": ["BertForMaskedLM"]}"#);
    assert!(found.contains("a list beginning with DistilBert"), "{found}");
    for (field, value) in
        [("summary_type", "\"mean\""), ("summary_activation", "null"), ("summary_use_proj", "false")]
    {
        let json = |class: &str| {
            format!(r#"{{"model_type": "electra", "architectures": ["{class}"], "{field}": {value}}}"#)
        };
        let found = error(&json("ElectraForMultipleChoice"));
        assert!(found.contains(&format!("`{field}` is {value}")), "{found}");
        ModelConfig::from_json(&json("ElectraForQuestionAnswering")).unwrap();
    }
}

#[test]
fn a_discriminator_is_opened_as_its_encoder() {
    let json = r#"{"model_type": "electra", "architectures": ["ElectraForPreTraining"]}"#;
    let config = ModelConfig::from_json(json).unwrap();
    assert_eq!((config.head, config.class_name().as_str()), (Head::None, "ElectraModel"));
    for name in ["discriminator_predictions.dense_prediction.bias", "electra.embeddings.position_ids"] {
        assert!(mobilebert::model::names::is_known_extra(&config, name), "{name}");
    }
    for name in ["electra.discriminator_predictions.dense.bias", "discriminator_predictions.bias"] {
        assert!(!mobilebert::model::names::is_known_extra(&config, name), "{name}");
    }
}

#[test]
fn a_decoder_that_is_tied_by_name_only_is_kept() {
    let ties = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/ties");
    let target = tempfile::tempdir().unwrap();
    for family in ["bert", "mobilebert"] {
        let original = target.path().join(family);
        fs::create_dir(&original).unwrap();
        fs::copy(ties.join(format!("{family}.safetensors")), original.join("model.safetensors")).unwrap();
        let lines = fs::read_to_string(ties.join(format!("{family}.jsonl"))).unwrap();
        let golden: serde_json::Value = serde_json::from_str(lines.lines().nth(3).unwrap()).unwrap();
        assert_eq!(golden["config"]["tie_word_embeddings"], true);
        fs::write(original.join("config.json"), golden["config"].to_string()).unwrap();
        fs::write(original.join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\n")
            .unwrap();

        let converted = target.path().join(format!("{family}-converted"));
        let report =
            convert::convert(path(&original), &converted, &ConvertOptions::new(), &|_, _| {}).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("tie_word_embeddings")), "{:?}", report.notes);
        let quantised = int8(&converted, target.path().join(format!("{family}-int8")));
        let expected: Vec<f32> = serde_json::from_value(golden["logits"].clone()).unwrap();
        let scale = expected.iter().fold(1.0_f32, |scale, v| scale.max(v.abs()));
        for (folder, limit) in [(&original, 1e-5), (&converted, 1e-5), (&quantised, 0.1)] {
            let options = EngineOptions::new().precision(mobilebert::Precision::F32);
            let engine = Engine::open(folder.as_path(), options).unwrap();
            assert!(!engine.config().decoder_is_tied());
            let batch = mobilebert::Batch::single(&[2, 5, 9, 11, 3], &[0; 5]).unwrap();
            let found = engine.forward(&batch).unwrap();
            let error = expected.iter().zip(found.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error < limit * scale, "{}: {error} of {scale}", folder.display());
        }
    }
}
