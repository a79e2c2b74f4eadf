//! Tests that quantised models are written only if they hold their gate, and compares models side by side.

#[path = "../../../tests/support/hard.rs"]
mod hard;

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::quant::{Bits, Scales};
use mobilebert::{Batch, Engine, EngineOptions, Error, ErrorKind, ModelFiles, Precision};
use mobilebert_tools::compare::{Answered, first_to_flip, item_by_item};
use mobilebert_tools::gate::{self, GateOptions, GateReport};
use mobilebert_tools::task::{Task, TaskOptions};
use mobilebert_tools::writer::{Int8Options, TensorError, to_int8_with};
use safetensors::SafeTensors;
use serde_json::Value;

use hard::{copy, edit, hard_model};

const BERT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/bert-f32");
const HARD: &str = "encoder.layer.1.";

/// Writes texts whose labels are the model's answers in f32, so that each answer that int8 changes is wrong.
fn data(folder: &Path, model: &str) -> PathBuf {
    const WORDS: [&str; 12] =
        ["good", "bad", "film", "not", "very", "time", "king", "wrote", "paris", "book", "what", "anna"];
    let mut seed = 7usize;
    let mut text = || {
        let mut word = || {
            seed = (seed * 25_173 + 13_849) % 65_536;
            WORDS[seed * WORDS.len() / 65_536]
        };
        (0..6).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..90).map(|_| text()).collect();
    let engine = EngineOptions::new().precision(Precision::F32);
    let classifier =
        mobilebert::TextClassification::open_with(model, engine, mobilebert::ClassifyOptions::default())
            .unwrap();
    let labels = classifier.classify_batch(&texts).unwrap();
    let rows =
        texts.iter().zip(&labels).map(|(text, found)| format!("{text}\t{}\n", found.best().unwrap().label));
    let path = folder.join("data.tsv");
    fs::write(&path, format!("text\tlabel\n{}", rows.collect::<String>())).unwrap();
    path
}

fn quantize(source: &str, to: &Path, data: &Path, options: GateOptions) -> Result<GateReport, Error> {
    gate::quantize(source, to, data, &options, &|_, _, _| {})
}

fn options() -> GateOptions {
    GateOptions::new(Task::Labels)
}

fn logits(folder: &Path, options: EngineOptions) -> Vec<u32> {
    let engine = Engine::open(folder.to_str().unwrap(), options).unwrap();
    let batch = Batch::single(&[2, 9, 14, 5, 11, 3], &[0; 6]).unwrap();
    engine.forward(&batch).unwrap().values().iter().map(|x| x.to_bits()).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn the_worst_layer_goes_back_to_f32() {
    let folder = tempfile::tempdir().unwrap();
    let source = hard_model(folder.path());
    let (data, to) = (data(folder.path(), &source), folder.path().join("int8"));
    let report = quantize(&source, &to, &data, options().max_drop(4.0)).unwrap();
    let attempts: Vec<(f64, &[String])> =
        report.attempts.iter().map(|a| (a.drop, a.keep_f32.as_slice())).collect();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(attempts[0].0 > 4.0 && attempts[1].0 <= 4.0, "{attempts:?}");
    assert_eq!(report.keep_f32(), [HARD]);
    // What modules in f32 compute differs from machine to machine.
    assert!(!to.join("self-check.json").exists());
    let costs: Vec<(&str, bool)> =
        report.modules.iter().map(|module| (module.module.as_str(), module.kept_f32)).collect();
    assert_eq!(costs, [("embeddings", false), ("encoder.layer.0.", false), (HARD, true), ("pooler", false)]);
    let hard = &report.modules[2];
    assert!(report.modules.iter().all(|m| m.module == HARD || m.alone_sqnr_db > hard.alone_sqnr_db + 6.0));

    // The folder lists the layer, holds its weights unchanged, and runs it in f32.
    let config: Value = serde_json::from_slice(&fs::read(to.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["quantization_config"]["keep_f32"], serde_json::json!([HARD]));
    let bytes = fs::read(to.join("model.safetensors")).unwrap();
    let written = SafeTensors::deserialize(&bytes).unwrap();
    let original = fs::read(Path::new(&source).join("model.safetensors")).unwrap();
    let original = SafeTensors::deserialize(&original).unwrap();
    let name = "bert.encoder.layer.1.output.dense.weight";
    assert_eq!(written.tensor(name).unwrap().data(), original.tensor(name).unwrap().data());
    assert!(written.names().contains(&"bert.encoder.layer.0.output.dense.weight_scale"));
    let kept = logits(&to, EngineOptions::new());
    let at_load = EngineOptions::new().precision(Precision::Int8);
    assert_eq!(kept, logits(Path::new(&source), at_load.clone().keep_f32([HARD])));
    assert_ne!(kept, logits(Path::new(&source), at_load));
    // Quantising the folder again keeps the same modules in f32, and gives the same bits.
    let again = folder.path().join("again");
    mobilebert_tools::writer::to_int8(&ModelFiles::Folder(to.clone()), &again).unwrap();
    assert_eq!(kept, logits(&again, EngineOptions::new()));
}

#[test]
fn four_bits_go_to_eight_and_on_to_f32() {
    let folder = tempfile::tempdir().unwrap();
    let source = hard_model(folder.path());
    let (data, to) = (data(folder.path(), &source), folder.path().join("int4"));
    let four = || options().bits(Bits::Four);
    let report = quantize(&source, &to, &data, four().max_drop(4.0)).unwrap();
    // The hard layer loses too much in int8 too, so all modules go to 8 bits before it goes to f32.
    let kept: Vec<(usize, usize)> =
        report.attempts.iter().map(|a| (a.keep_int8.len(), a.keep_f32.len())).collect();
    assert_eq!(kept, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 1)]);
    assert_eq!(report.keep_f32(), [HARD]);
    assert!(report.drop() <= 4.0);
    let json: Value = serde_json::from_slice(&fs::read(to.join("quantization.json")).unwrap()).unwrap();
    assert_eq!((&json["scheme"]["bits"], &json["scheme"]["keep_f32"][0]), (&4.into(), &HARD.into()));
    assert_eq!(json["modules"][2]["kept_f32"], true);

    // With a limit that cannot be exceeded, no module goes back.
    let to = folder.path().join("plain");
    let report = quantize(&source, &to, &data, four().max_drop(100.0)).unwrap();
    assert!(report.keep_int8().is_empty() && report.keep_f32().is_empty());
    assert_eq!(report.int8.int4_tensors, report.int8.quantized_tensors);
    let json: Value = serde_json::from_slice(&fs::read(to.join("quantization.json")).unwrap()).unwrap();
    assert_eq!(json["scores"]["int4"]["accuracy"], (report.items.b.scores.main() * 100.0).round() / 100.0);
    assert_eq!(json["size"]["int8_tensors"], 0);
    let tensors = json["tensors"].as_array().unwrap();
    assert!(tensors.iter().all(|t| t["stored"] == "int4" && t["sqnr_db"].as_f64().unwrap() > 15.0));
    let text = |name: &str| fs::read_to_string(to.join(name)).unwrap();
    assert!(text("quantization.md").contains(" in int4: what it costs\n"));
    assert_eq!(text("quantization.svg").matches("class=\"int4\"").count(), 4);

    let to = folder.path().join("none");
    let error = quantize(&source, &to, &data, four().max_drop(4.0).max_f32_modules(0)).unwrap_err();
    let ErrorKind::Gate { keep_int8, keep_f32, .. } = error.kind() else { panic!("{error}") };
    assert!(keep_int8.len() <= 4 && keep_f32.is_empty() && !to.exists(), "{error}");
}

#[test]
fn a_gate_that_does_not_hold_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = hard_model(folder.path());
    let (data, to) = (data(folder.path(), &source), folder.path().join("int8"));
    let before = entries(folder.path());
    let error = quantize(&source, &to, &data, options().max_drop(4.0).max_f32_modules(0)).unwrap_err();
    let ErrorKind::Gate { metric, reference, drop, keep_f32, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*metric, *reference), ("accuracy", 100.0));
    assert!(*drop > 4.0 && keep_f32.is_empty(), "{error}");
    assert_eq!(entries(folder.path()), before);
    for wrong in [-0.1, f64::NAN] {
        let error = quantize(&source, &to, &data, options().max_drop(wrong)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Option { option: "max_drop", .. }), "{error}");
    }
}

#[test]
fn the_evidence_is_complete_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let source = hard_model(folder.path());
    let data = data(folder.path(), &source);
    let run = |name: &str| {
        let to = folder.path().join(name);
        let report = quantize(&source, &to, &data, options().max_drop(4.0)).unwrap();
        (report, to)
    };
    let ((report, one), (_, two)) = (run("one"), run("two"));
    for name in entries(&one) {
        assert_eq!(fs::read(one.join(&name)).unwrap(), fs::read(two.join(&name)).unwrap(), "{name}");
    }
    let text = |name: &str| fs::read_to_string(one.join(name)).unwrap();
    for name in ["quantization.json", "quantization.md", "quantization.svg"] {
        assert!(!text(name).contains(folder.path().to_str().unwrap()), "{name} has a path");
    }
    let json: Value = serde_json::from_str(&text("quantization.json")).unwrap();
    assert_eq!((&json["gate"]["data"], &json["gate"]["examples"]), (&"data.tsv".into(), &90.into()));
    assert_eq!(json["gate"]["data_sha256"].as_str().unwrap().len(), 64);
    assert_eq!(json["weights_sha256"], ModelFiles::Folder(one.clone()).weights_sha256().unwrap());
    assert_eq!(json["scores"]["f32"]["accuracy"], 100.0);
    assert_eq!(json["scores"]["f32"]["interval"].as_array().unwrap().len(), 2);
    assert_eq!(json["disagreements"].as_array().unwrap().len(), report.items.differing.len());
    let right = json["scores"]["mcnemar"]["only_f32_right"].as_u64().unwrap() as usize;
    assert_eq!(right, report.items.differing.len(), "f32 is always right here");
    let tensors = json["tensors"].as_array().unwrap();
    let stored = |layer: &str| {
        let of_layer = |t: &&Value| t["name"].as_str().unwrap().contains(layer);
        tensors.iter().filter(of_layer).map(|t| t["stored"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((stored("layer.0."), stored("layer.1.")), (vec!["int8"; 6], vec!["f32"; 6]));
    assert!(tensors.iter().all(|t| t["stored"] == "f32" || t["sqnr_db"].as_f64().unwrap() > 30.0));
    let (markdown, svg) = (text("quantization.md"), text("quantization.svg"));
    assert!(markdown.contains("| encoder.layer.1 | f32 |") && markdown.contains("(quantization.svg)"));
    assert_eq!(svg.matches("class=\"int8\"").count(), 3);
    assert_eq!(svg.matches("class=\"f32\"").count(), 1);
}

#[test]
fn malformed_lists_of_kept_modules_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("int8");
    mobilebert_tools::writer::to_int8(&ModelFiles::resolve(BERT).unwrap(), &to).unwrap();
    let text = fs::read_to_string(to.join("config.json")).unwrap();
    for wrong in [r#""pooler""#, r#"[""]"#, "[1]", "{}", r#"["pooler", null]"#] {
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["quantization_config"]["keep_f32"] = serde_json::from_str(wrong).unwrap();
        fs::write(to.join("config.json"), config.to_string()).unwrap();
        let error = Engine::open(to.to_str().unwrap(), EngineOptions::new()).unwrap_err();
        let ErrorKind::Config { field, .. } = error.kind() else { panic!("{wrong}: {error}") };
        assert_eq!(field, "quantization_config.keep_f32", "{wrong}");
    }
}

#[test]
fn embeddings_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::resolve(BERT).unwrap();
    let all = ["embeddings", "encoder.layer.0.", HARD, "pooler"];
    for (name, kept) in [("all", &all[..]), ("embeddings", &all[..1])] {
        let to = folder.path().join(name);
        let report = to_int8_with(&files, &to, &Int8Options::new().keep_f32(kept.iter().copied())).unwrap();
        assert_eq!(report.quantized_tensors == 0, kept.len() == all.len());
        let at_load = EngineOptions::new().precision(Precision::Int8).keep_f32(kept.iter().copied());
        assert_eq!(logits(&to, EngineOptions::new()), logits(Path::new(BERT), at_load), "{name}");
    }
    let f32 = logits(Path::new(BERT), EngineOptions::new());
    assert_eq!(logits(&folder.path().join("all"), EngineOptions::new()), f32);
}

#[test]
fn scales_by_error_open_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let files = ModelFiles::resolve("../../tests/golden/checkpoints/mobilebert-f32").unwrap();
    let write = |name: &str, scales| {
        let to = folder.path().join(name);
        to_int8_with(&files, &to, &Int8Options::new().scales(scales)).unwrap()
    };
    let (max, error) = (write("max", Scales::Max), write("error", Scales::LeastError));
    assert!(max.tensors.iter().all(|tensor| tensor.clipped_rows == 0));
    for (max, error) in max.tensors.iter().zip(&error.tensors) {
        assert!(error.deviation.relative_error() <= max.deviation.relative_error(), "{}", max.name);
    }
    let smaller = |(max, error): (&TensorError, &TensorError)| {
        error.deviation.relative_error() < max.deviation.relative_error()
    };
    assert!(max.tensors.iter().zip(&error.tensors).any(smaller));
    let open = |name: &str| logits(&folder.path().join(name), EngineOptions::new());
    assert_ne!(open("max"), open("error"));
}

/// The models of the pair differ only by one layer's bias, so that layer flips every answer that differs.
#[test]
fn answers_that_differ_are_listed_with_the_layer_that_flips_them() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    copy(Path::new(BERT), &other);
    edit(&other, |tensors| {
        let bias = tensors.get_mut("bert.encoder.layer.1.output.dense.bias").unwrap();
        bias.iter_mut().enumerate().for_each(|(i, b)| *b += if i % 2 == 0 { 2.0 } else { -2.0 });
    });
    let path = data(folder.path(), BERT);
    let data = Task::Labels.read(&path).unwrap();
    let open = |model: &str| TaskOptions::new(Task::Labels).open(model).unwrap();
    let (mut a, b) = (open(BERT), open(other.to_str().unwrap()));
    let answered = |evaluator| Answered::new(evaluator, &data, &|_| {}).unwrap();
    let (of_a, of_b) = (answered(&a), answered(&b));
    let mut found = item_by_item(&data, &of_a, &of_b);
    let expected: Vec<usize> = (0..data.len())
        .filter(|&i| of_a.predictions[i].text(&data) != of_b.predictions[i].text(&data))
        .collect();
    assert_eq!(found.differing.iter().map(|d| d.index).collect::<Vec<_>>(), expected);
    assert!(!expected.is_empty() && expected.len() < data.len(), "{} differ", expected.len());
    assert_eq!(found.a.scores.main(), 100.0);
    let mcnemar = found.mcnemar.unwrap();
    assert_eq!((mcnemar.only_a, mcnemar.only_b), (expected.len(), 0));
    assert!(found.difference_interval.unwrap().contains(found.difference));

    let files = (&ModelFiles::resolve(BERT).unwrap(), &ModelFiles::Folder(other.clone()));
    first_to_flip(files, &mut a, &EngineOptions::new(), None, &data, &mut found).unwrap();
    for difference in &found.differing {
        assert_eq!(difference.flipped_by.as_deref(), Some(HARD), "{difference:?}");
        assert_eq!(difference.references, std::slice::from_ref(&difference.a));
    }
}

/// A model for embeddings has no labels. Its gate is the order of similarities.
#[test]
fn embeddings_are_gated_by_spearmans_correlation() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        ["good", "bad film", "the king", "wrote a book", "paris", "anna was not very good", "what time"];
    let rows: String = (0..words.len() - 1)
        .map(|i| format!("{}\t{}\t{}\n", words[i], words[i + 1], i as f64 / 2.0))
        .collect();
    let data = folder.path().join("pairs.tsv");
    fs::write(&data, format!("sentence1\tsentence2\tscore\n{rows}")).unwrap();
    let to = folder.path().join("int8");
    let report = quantize(BERT, &to, &data, GateOptions::new(Task::Embeddings).max_drop(200.0)).unwrap();
    assert_eq!((report.items.metric, report.items.total), ("spearman", 6));
    let evidence: Value = serde_json::from_slice(&fs::read(to.join("quantization.json")).unwrap()).unwrap();
    assert_eq!(
        (&evidence["gate"]["task"], &evidence["gate"]["metric"]),
        (&"embed".into(), &"spearman".into())
    );
    let f32 = TaskOptions::new(Task::Embeddings).engine(EngineOptions::new().precision(Precision::F32));
    let examples = Task::Embeddings.read(&data).unwrap();
    let scores = Answered::new(&f32.open(BERT).unwrap(), &examples, &|_| {}).unwrap().scores;
    assert_eq!(report.items.a.scores.main(), scores.main());
}

/// A correlation needs two pairs that differ; without it there is nothing that could drop.
#[test]
fn data_on_which_the_score_is_not_defined_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pairs.tsv");
    fs::write(&data, "sentence1\tsentence2\tscore\ngood\tbad film\t1\n").unwrap();
    let to = folder.path().join("int8");
    let error = quantize(BERT, &to, &data, GateOptions::new(Task::Embeddings)).unwrap_err();
    assert_eq!(error.code(), "input");
    assert!(error.to_string().contains("pairs.tsv: has 1 examples, on which the spearman"), "{error}");
    assert!(!to.exists());
}
