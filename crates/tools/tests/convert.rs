//! Tests that the same weights become the same tensors, whatever the format of the source.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::format::Checkpoint;
use mobilebert::model::Weights;
use mobilebert::{ErrorKind, ModelConfig, ModelFiles, model};
use mobilebert_tools::convert::{self, ConvertOptions, ConvertReport, SourceFormat};
use mobilebert_tools::writer;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Converts a golden source and verifies it against the logits recorded beside it.
fn convert(source: &str) -> (tempfile::TempDir, ConvertReport) {
    let target = tempfile::tempdir().unwrap();
    let options = ConvertOptions::new().verify(true);
    let destination = target.path().join("model");
    let report = convert::convert(golden(source).to_str().unwrap(), &destination, &options, &|_, _| {})
        .unwrap_or_else(|e| panic!("{source}: {e}"));
    (target, report)
}

fn content_hash(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("config.json")).unwrap();
    let config = ModelConfig::from_json(&text).unwrap();
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(Checkpoint::open_folder(folder).unwrap(), &config, &graph).unwrap();
    writer::content_hash(&config, &graph, &weights).unwrap()
}

fn assert_same(original: &str, sources: &[(&str, SourceFormat)]) {
    let expected = content_hash(&golden(original));
    for &(source, format) in sources {
        let (target, report) = convert(source);
        assert_eq!(report.format, format, "{source}");
        assert_eq!(report.content_sha256, expected, "{source}");
        assert_eq!(content_hash(&target.path().join("model")), expected, "{source}: as written");
        let recorded = report.verification.expect("verified").recorded;
        assert!(recorded.is_some(), "{source} has no recorded logits");
    }
}

#[test]
fn every_form_of_a_question_answering_mobilebert_has_one_hash() {
    use SourceFormat::{HuggingFace, LiteRt, Onnx, TensorFlow};
    assert_same(
        "checkpoints/mobilebert-f32",
        &[
            ("checkpoints/mobilebert-f32", HuggingFace),
            ("checkpoints/mobilebert-f32/model.safetensors", HuggingFace),
            ("checkpoints/mobilebert-sharded", HuggingFace),
            ("checkpoints/mobilebert-bin", HuggingFace),
            ("checkpoints/mobilebert-bin/pytorch_model.bin", HuggingFace),
            ("checkpoints/mobilebert-bin-legacy", HuggingFace),
            ("convert/onnx-mobilebert-qa", Onnx),
            ("convert/onnx-mobilebert-qa/model.onnx", Onnx),
            ("convert/onnx-mobilebert-qa-dynamo", Onnx),
            ("convert/onnx-mobilebert-qa-external", Onnx),
            ("convert/tflite-mobilebert-qa", LiteRt),
            ("convert/tf-mobilebert-qa", TensorFlow),
            ("convert/tf-mobilebert-qa/bert_model.ckpt", TensorFlow),
            ("convert/tf-mobilebert-qa/bert_model.ckpt.index", TensorFlow),
            ("convert/tf-mobilebert-qa/bert_model.ckpt.data-00000-of-00001", TensorFlow),
        ],
    );
}

#[test]
fn every_form_of_a_masked_mobilebert_has_one_hash() {
    let (target, report) = convert("convert/tf-mobilebert-pretraining");
    assert_eq!(report.class, "MobileBertForMaskedLM");
    assert_eq!(report.content_sha256, content_hash(&golden("checkpoints/mobilebert-mlm-f32")));
    let (_, onnx) = convert("convert/onnx-mobilebert-masked");
    assert_eq!(onnx.class, "MobileBertForMaskedLM");
    assert_eq!(report.content_sha256, onnx.content_sha256);
    // Tensors that this head does not read, but further training would, are kept.
    let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
    assert_eq!(written.entry("cls.seq_relationship.weight").unwrap().shape, [2, 16]);
    assert!(report.notes.iter().any(|note| note.contains("training")), "{:?}", report.notes);
}

/// The weights of int8 graphs, with and without zero points, differ from those of the original only by their
/// rounding.
#[test]
fn int8_graphs_hold_the_rounded_weights() {
    /// Half a step of int8 is 1/254 of the range. Unsigned types with a zero point have finer steps.
    const ROUNDING: f32 = 1.0 / 254.0;
    /// The zero points of this file were moved by 6, and values outside the range were cut off.
    const CUT: f32 = 6.0 / 127.0;
    /// The error of `weight * gamma / gamma`, where the product and gamma (0.9 to 1.1) are rounded. It is up
    /// to twice 1.1 / 0.9 of a rounding.
    const QUOTIENT: f32 = 2.5 * ROUNDING;
    /// More tensors than these are rounded: a BERT has fewer linears.
    const MOBILE: usize = 20;
    const BERT: usize = 15;
    let [original, bert] = ["mobilebert-f32", "bert-f32"].map(|name| golden("checkpoints").join(name));
    // TensorFlow's converter rounds the products of norms and linears.
    let (target, _) = convert("convert/tflite-tf-mobilebert-qa");
    let folded = target.path().join("model");
    for (source, original, allowed, fewest) in [
        ("convert/onnx-mobilebert-qa-dynamic", &original, ROUNDING, MOBILE),
        ("convert/onnx-mobilebert-qa-qdq", &original, ROUNDING, MOBILE),
        ("onnx/mobilebert-qa-dynamo-qdq-s8s8-per-channel", &original, ROUNDING, MOBILE),
        ("onnx/bert-classifier-script-qdq-u8u8", &bert, ROUNDING, BERT),
        ("onnx/bert-classifier-script-dynamic-all", &bert, ROUNDING, BERT),
        ("convert/tflite-mobilebert-qa-dynamic", &original, ROUNDING, MOBILE),
        ("convert/tflite-mobilebert-qa-static", &original, ROUNDING, MOBILE),
        ("convert/tflite-mobilebert-qa-asymmetric", &original, ROUNDING + CUT, MOBILE),
        ("convert/tflite-tf-mobilebert-qa-dynamic", &folded, QUOTIENT, MOBILE),
        ("convert/tflite-tf-mobilebert-qa-static", &folded, QUOTIENT, MOBILE),
    ] {
        let original = Checkpoint::open_folder(original).unwrap();
        let (target, report) = convert(source);
        let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
        assert_eq!(written.entries().count(), original.entries().count(), "{source}");
        let mut rounded = 0;
        for (name, entry) in original.entries() {
            let (expected, found) = (original.f32(name).unwrap(), written.f32(name).unwrap());
            assert_eq!(written.entry(name).unwrap().shape, entry.shape, "{source}: {name}");
            let range = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            let furthest = expected.iter().zip(&*found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest <= 1.001 * allowed * range, "{source}: {name}: {furthest} of {range}");
            rounded += usize::from(furthest > 0.0);
        }
        assert!(rounded > fewest, "{source}: only {rounded} tensors are rounded");
        let verification = report.verification.expect("verified");
        assert_eq!(verification.recorded.is_some(), !source.ends_with("asymmetric"), "{source}");
    }
}

/// LiteRT's converter multiplies layer norms into the linears behind them. The logits agree, and the weights
/// agree up to the rounding of f32 divisions.
#[test]
fn folded_norms_are_unfolded() {
    let (target, report) = convert("convert/tflite-bert-classifier");
    assert!(report.notes.iter().any(|note| note.contains("folded")), "{:?}", report.notes);
    let original = Checkpoint::open_folder(&golden("checkpoints/bert-f32")).unwrap();
    let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
    let mut inexact = 0;
    for (name, _) in original.entries() {
        let (expected, found) = (original.f32(name).unwrap(), written.f32(name).unwrap());
        for (a, b) in expected.iter().zip(&*found) {
            assert!((a - b).abs() <= 1e-6, "{name}: {a}, {b}");
            inexact += usize::from(a != b);
        }
    }
    assert!(inexact > 0, "nothing was folded");
}

/// TensorFlow's converter multiplies NoNorms into the linears before and behind them, whatever the form of
/// the rest of the graph.
#[test]
fn what_tensorflow_folds_computes_the_same() {
    const ROUNDING: f32 = 1e-6;
    let (_, report) = convert("convert/tflite-tf-mobilebert-qa");
    let (_, unrolled) = convert("convert/tflite-tf-mobilebert-qa-unrolled");
    for report in [&report, &unrolled] {
        assert_eq!(report.class, "MobileBertForQuestionAnswering");
        assert!(report.verification.as_ref().unwrap().recorded.unwrap() < ROUNDING, "{report:?}");
        assert!(report.notes.iter().any(|note| note.contains("folded")), "{:?}", report.notes);
        assert!(report.notes.iter().any(|note| note.contains("padding a score of -6")), "{:?}", report.notes);
    }
    // The unrolled graph has one-hot products, and a product for each head.
    assert_eq!(report.content_sha256, unrolled.content_sha256);
    assert_ne!(report.content_sha256, content_hash(&golden("checkpoints/mobilebert-f32")));
}

/// Keras scales the queries before it multiplies keys with them.
#[test]
fn queries_that_were_scaled_are_not_keys() {
    let (target, report) = convert("convert/tflite-tf-bert-keras");
    assert!(report.notes.iter().any(|note| note.contains("scale of attention scores")), "{:?}", report.notes);
    assert!(report.notes.iter().any(|note| note.contains("softmax")), "{:?}", report.notes);
    let original = Checkpoint::open_folder(&golden("checkpoints/bert-f32")).unwrap();
    let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
    for (name, _) in original.entries() {
        let (expected, found) = (original.f32(name).unwrap(), written.f32(name).unwrap());
        let furthest = expected.iter().zip(&*found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let is_query = name.contains(".query.");
        assert!(if is_query { furthest <= 1e-6 } else { furthest == 0.0 }, "{name}: {furthest}");
    }
}

/// Google's MobileBERT for int8 cuts activations off at 6: relu6(x) = relu(x) - relu(x - 6). In this file, a
/// quarter of the first layer's activations are above 6.
#[test]
fn relu6_becomes_two_relus() {
    /// TensorFlow's f32 is 0.09 away from the recorded int8 with relu6, and 0.26 with relu.
    const ROUNDING: f32 = 0.15;
    let (target, report) = convert("convert/tflite-tf-mobilebert-qa-trained");
    let recorded = report.verification.as_ref().unwrap().recorded.unwrap();
    assert!(recorded < ROUNDING, "{recorded}");
    for part in ["relu6", "at the ends of a range"] {
        assert!(report.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", report.notes);
    }
    let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
    for ffn in ["encoder.layer.0", "encoder.layer.1.ffn.0"] {
        let read = |name: &str| written.f32(&format!("mobilebert.{ffn}.{name}")).unwrap().into_owned();
        let weight = read("intermediate.dense.weight");
        let (first, second) = weight.split_at(12 * 8);
        assert_eq!(first, second, "{ffn}");
        let bias = read("intermediate.dense.bias");
        assert!((0..12).all(|i| bias[12 + i] == bias[i] - 6.0), "{ffn}: {bias:?}");
        for row in read("output.dense.weight").chunks_exact(24) {
            assert!((0..12).all(|i| row[12 + i] == -row[i]) && row.iter().any(|&w| w != 0.0), "{ffn}");
        }
    }
    // The result is the same if the configuration names relu6 itself.
    let folder = copy("convert/tflite-tf-mobilebert-qa-trained");
    let config = fs::read_to_string(golden("checkpoints/mobilebert-f32/config.json")).unwrap();
    assert!(config.contains("\"relu\""));
    fs::write(folder.path().join("config.json"), config.replace("\"relu\"", "\"relu6\"")).unwrap();
    let destination = target.path().join("again");
    let source = folder.path().to_str().unwrap();
    let again = convert::convert(source, &destination, &ConvertOptions::new(), &|_, _| {}).unwrap();
    assert_eq!(again.content_sha256, report.content_sha256);
}

/// Weights outside the ONNX file are read from the folder of the file, and from nowhere else.
#[test]
fn external_data_has_to_lie_beside_the_graph() {
    const DATA: &str = "model.onnx.data";
    let folder = copy("convert/onnx-mobilebert-qa-external");
    let (graph, data) = (folder.path().join("model.onnx"), folder.path().join(DATA));
    let whole = fs::read(&data).unwrap();

    fs::write(&data, &whole[..whole.len() - 4]).unwrap();
    let error = failure(&graph);
    assert!(error.to_string().contains(DATA), "{error}");
    assert!(!matches!(error.kind(), ErrorKind::MissingFile { .. }), "{error}");

    fs::remove_file(&data).unwrap();
    let error = failure(&graph);
    let ErrorKind::MissingFile { expected, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(*expected, [DATA]);

    // The name has the same length and leaves the folder.
    let mut bytes = fs::read(&graph).unwrap();
    for at in 0..bytes.len() - DATA.len() {
        if bytes[at..].starts_with(DATA.as_bytes()) {
            bytes[at..at + 3].copy_from_slice(b"../");
        }
    }
    fs::write(&graph, &bytes).unwrap();
    let error = failure(&graph);
    let ErrorKind::Format { expected, found, .. } = error.kind() else { panic!("{error}") };
    assert!(expected.contains("beside") && found.contains("../"), "{error}");
}

/// An exporter for one length keeps only the positions that it needs.
#[test]
fn a_fixed_length_is_said_to_bound_the_positions() {
    let of_length = |report: &ConvertReport| report.notes.iter().any(|note| note.contains("of 24 tokens"));
    assert!(of_length(&convert("convert/tflite-mobilebert-qa").1));
    assert!(!of_length(&convert("convert/onnx-mobilebert-qa").1));
}

/// The configuration beside a graph supplies what the graph does not contain, and has to agree with what it
/// does contain.
#[test]
fn a_configuration_beside_a_graph_is_held_against_it() {
    let folder = copy("convert/onnx-mobilebert-ner");
    let config = fs::read_to_string(golden("checkpoints/mobilebert-ner-f32/config.json")).unwrap();
    fs::write(folder.path().join("config.json"), &config).unwrap();
    let target = tempfile::tempdir().unwrap();
    let destination = target.path().join("model");
    let source = folder.path().to_str().unwrap();
    convert::convert(source, &destination, &ConvertOptions::new(), &|_, _| {}).unwrap();
    assert_eq!(content_hash(&destination), content_hash(&golden("checkpoints/mobilebert-ner-f32")));
    let text = fs::read_to_string(destination.join("config.json")).unwrap();
    assert_eq!(ModelConfig::from_json(&text).unwrap().labels[1], "B-PER");

    for (field, other, module) in [
        ("\"num_attention_heads\": 2", "\"num_attention_heads\": 4", "encoder.layer.1.attention.self"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "encoder.layer.0"),
        ("\"intermediate_size\": 12", "\"intermediate_size\": 20", "encoder.layer.1.output.dense.weight"),
        ("\"hidden_act\": \"relu\"", "\"hidden_act\": \"gelu\"", "encoder.layer.1.intermediate.dense"),
        ("\"trigram_input\": true", "\"trigram_input\": false", "embeddings.embedding_transformation.weight"),
    ] {
        assert!(config.contains(field), "{field}");
        fs::write(folder.path().join("config.json"), config.replace(field, other)).unwrap();
        let error = failure(folder.path());
        let ErrorKind::Conversion { file, place, module: found, hint, .. } = error.kind() else {
            panic!("{error}")
        };
        assert_eq!(hint.contains("eager"), module.ends_with("attention.self"), "{error}");
        assert!(file.ends_with("model.onnx") && !place.is_empty(), "{error}");
        assert!(found.contains(module), "{other}: {error}");
    }
}

#[test]
fn every_form_of_a_bert_classifier_has_one_hash() {
    use SourceFormat::{HuggingFace, LiteRt, Onnx, TensorFlow};
    assert_same(
        "checkpoints/bert-f32",
        &[
            ("checkpoints/bert-f32", HuggingFace),
            ("checkpoints/tf-names", HuggingFace),
            ("convert/tf-bert-classifier", TensorFlow),
            ("convert/onnx-bert-classifier", Onnx),
            ("convert/onnx-bert-classifier-dynamo", Onnx),
            ("convert/onnx-bert-classifier-sdpa", Onnx),
            ("convert/tflite-tf-bert-classifier", LiteRt),
        ],
    );
}

#[test]
fn half_precision_becomes_the_f32_that_it_stands_for() {
    for name in ["checkpoints/mobilebert-f16", "checkpoints/mobilebert-bf16"] {
        let (target, report) = convert(name);
        assert_eq!(report.content_sha256, content_hash(&golden(name)));
        let written = Checkpoint::open_folder(&target.path().join("model")).unwrap();
        assert!(written.entries().all(|(_, entry)| entry.dtype == Ok(mobilebert::format::ElementType::F32)));
    }
}

#[test]
fn f32_to_f32_keeps_every_bit_and_int8_stays_int8() {
    let (target, _) = convert("checkpoints/mobilebert-f32");
    let (before, after) = (
        Checkpoint::open_folder(&golden("checkpoints/mobilebert-f32")).unwrap(),
        Checkpoint::open_folder(&target.path().join("model")).unwrap(),
    );
    for (name, entry) in before.entries() {
        assert_eq!(after.entry(name).map(|e| &e.shape), Some(&entry.shape), "{name}");
        assert_eq!(after.bytes(name), before.bytes(name), "{name}");
    }
    assert_eq!(before.entries().count(), after.entries().count());

    let int8 = target.path().join("int8");
    writer::to_int8(&ModelFiles::Folder(golden("checkpoints/bert-f32")), &int8).unwrap();
    let again = target.path().join("again");
    let options = ConvertOptions::new().verify(true);
    let report = convert::convert(int8.to_str().unwrap(), &again, &options, &|_, _| {}).unwrap();
    assert_eq!(report.content_sha256, content_hash(&int8));
    assert_ne!(report.content_sha256, content_hash(&golden("checkpoints/bert-f32")));
    let (before, after) = (Checkpoint::open_folder(&int8).unwrap(), Checkpoint::open_folder(&again).unwrap());
    assert!(before.entries().all(|(name, _)| before.bytes(name) == after.bytes(name)));
}

#[test]
fn the_configuration_says_everything() {
    let (target, _) = convert("checkpoints/mobilebert-ner-f32");
    let text = fs::read_to_string(target.path().join("model/config.json")).unwrap();
    let original = fs::read_to_string(golden("checkpoints/mobilebert-ner-f32/config.json")).unwrap();
    let (written, original) =
        (ModelConfig::from_json(&text).unwrap(), ModelConfig::from_json(&original).unwrap());
    assert_eq!(written, original);
    assert_eq!(written.labels[1], "B-PER");
    for field in ["layer_norm_eps\": 1e-12", "trigram_input", "normalization_type", "classifier_activation"] {
        assert!(text.contains(field), "{field} in {text}");
    }
}

#[test]
fn a_destination_is_replaced_only_if_asked_and_only_if_it_is_a_model() {
    let (target, _) = convert("checkpoints/mobilebert-f32");
    let destination = target.path().join("model");
    let bert = golden("checkpoints/bert-f32");
    let run = |source: &Path, destination: &Path, force: bool| {
        let options = ConvertOptions::new().force(force);
        convert::convert(source.to_str().unwrap(), destination, &options, &|_, _| {})
    };
    let refused = |result: mobilebert::Result<ConvertReport>, part: &str| {
        let error = result.expect_err("refused");
        assert!(matches!(error.kind(), ErrorKind::Input { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(run(&bert, &destination, false), "already exists");
    run(&bert, &destination, true).unwrap();
    assert_eq!(content_hash(&destination), content_hash(&bert));
    refused(run(&destination, &destination, true), "holds the source");
    refused(run(&destination.join("model.safetensors"), &destination, true), "holds the source");

    let other = target.path().join("letters");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("to-ada.txt"), "Dear Ada").unwrap();
    refused(run(&bert, &other, true), "not a model folder");
    refused(run(&bert, &other.join("to-ada.txt"), true), "not a folder");

    // A failure leaves the old folder as it was, and no file of the failed run.
    let options = ConvertOptions::new().force(true).config(golden("checkpoints/mobilebert-f32/config.json"));
    convert::convert(bert.to_str().unwrap(), &destination, &options, &|_, _| {})
        .expect_err("another model's");
    assert_eq!(content_hash(&destination), content_hash(&bert));
    let mut left: Vec<_> = fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["letters", "model"]);
}

fn copy(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn failure(source: &Path) -> mobilebert::Error {
    let target = tempfile::tempdir().unwrap();
    let destination = target.path().join("model");
    let result = convert::convert(source.to_str().unwrap(), &destination, &ConvertOptions::new(), &|_, _| {});
    assert!(fs::read_dir(target.path()).unwrap().next().is_none(), "something was written");
    result.expect_err("refused")
}

#[test]
fn what_is_missing_is_named() {
    let folder = copy("convert/tf-mobilebert-pretraining");
    fs::remove_file(folder.path().join("bert_model.ckpt.data-00001-of-00002")).unwrap();
    let error = failure(folder.path());
    let ErrorKind::MissingFile { expected, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(*expected, ["bert_model.ckpt.data-00001-of-00002"]);

    for (file, hint) in [("bert_config.json", "--config"), ("vocab.txt", "--vocab")] {
        let folder = copy("convert/tf-mobilebert-qa");
        fs::remove_file(folder.path().join(file)).unwrap();
        let error = failure(folder.path());
        assert!(matches!(error.kind(), ErrorKind::MissingFile { .. }), "{error}");
        assert!(error.to_string().contains(file) && error.to_string().contains(hint), "{error}");
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(failure(empty.path()).kind(), ErrorKind::MissingFile { .. }));
    fs::write(empty.path().join("model.h5"), b"\x89HDF\r\n\x1a\n").unwrap();
    let error = failure(&empty.path().join("model.h5"));
    assert!(matches!(error.kind(), ErrorKind::Conversion { .. }), "{error}");
    assert!(error.to_string().contains("Keras"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_found_out() {
    let folder = copy("convert/tf-mobilebert-qa");
    let data = folder.path().join("bert_model.ckpt.data-00000-of-00001");
    let mut bytes = fs::read(&data).unwrap();
    bytes[1000] ^= 1;
    fs::write(&data, &bytes).unwrap();
    let error = failure(folder.path());
    let ErrorKind::Format { file, offset, expected, .. } = error.kind() else { panic!("{error}") };
    assert!(
        file.ends_with(".data-00000-of-00001") && *offset <= 1000 && expected.contains("checksum"),
        "{error}"
    );

    let folder = copy("convert/tf-mobilebert-qa");
    let index = folder.path().join("bert_model.ckpt.index");
    let intact = fs::read(&index).unwrap();
    // The last 48 bytes, with the trailing magic, tell where everything is. All bytes before them are under a
    // checksum.
    for position in (0..intact.len() - 48).step_by(7) {
        let mut bytes = intact.clone();
        bytes[position] ^= 0x10;
        fs::write(&index, &bytes).unwrap();
        let error = failure(&index);
        let ErrorKind::Format { file, .. } = error.kind() else { panic!("{position}: {error}") };
        assert!(file.ends_with(".index"), "{position}: {error}");
    }
}

/// No label of the model is lost, and a label that the checkpoint has no name for gets the usual one.
#[test]
fn labels_come_from_the_configuration_or_are_numbered() {
    let (target, report) = convert("convert/tf-bert-classifier");
    assert_eq!(report.class, "BertForSequenceClassification");
    let text = fs::read_to_string(target.path().join("model/config.json")).unwrap();
    assert_eq!(ModelConfig::from_json(&text).unwrap().labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
}

/// Returns a field of a protobuf message, which is bytes with their length in front.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = bytes.len();
    let mut field = vec![number << 3 | 2];
    while length > 0x7f {
        field.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend(bytes);
    field
}

#[test]
fn a_graph_of_too_many_operators_is_refused_even_without_a_value() {
    const MOST: usize = 1 << 16;
    let onnx = |operators: usize| field(7, &field(1, &field(4, b"A")).repeat(operators));
    for (operators, expected) in
        [(MOST + 1, "at most 65536 operators"), (MOST, "a lookup of token ids"), (0, "a lookup of token ids")]
    {
        let error = convert::graph_content_hash("crafted", onnx(operators)).unwrap_err();
        let ErrorKind::Conversion { expected: found, .. } = error.kind() else {
            panic!("{operators}: {error}")
        };
        assert!(found.contains(expected), "{operators}: {error}");
    }
}

/// Numbers in an attribute are counted, and not their bytes.
#[test]
fn a_constant_of_a_million_floats_is_read() {
    const MOST: usize = 1 << 20;
    let onnx = |numbers: usize| {
        let attribute = [field(1, b"value_floats"), field(7, &vec![0; 4 * numbers])].concat();
        let node = [field(2, b"x"), field(4, b"Constant"), field(5, &attribute)].concat();
        field(7, &field(1, &node))
    };
    for (numbers, is_read) in [(MOST, true), (MOST + 1, false)] {
        let error = convert::graph_content_hash("crafted", onnx(numbers)).unwrap_err().to_string();
        assert_eq!(error.contains("at most 1048576 numbers"), !is_read, "{numbers}: {error}");
    }
}

/// The slice that selects the first token's row reads its own output.
#[test]
fn slices_in_a_circle_are_refused() {
    let mut onnx = fs::read(golden("convert/onnx-bert-classifier-dynamo/model.onnx")).unwrap();
    let [whole, selected, gather] = [field(1, b"v142"), field(2, b"v143"), field(4, b"Gather")];
    let find = |bytes: &[u8], part: &[u8], from: usize| {
        from + bytes[from..].windows(part.len()).position(|window| window == part).unwrap()
    };
    let at = find(&onnx, &[&whole[..], &field(1, b"v23"), &selected].concat(), 0);
    onnx[at..at + whole.len()].copy_from_slice(&field(1, b"v143"));
    let at = find(&onnx, &gather, at);
    // The length takes two bytes where one would do, which leaves everything else in its place.
    onnx[at..at + gather.len()].copy_from_slice(b"\x22\x85\x00Slice");
    let error = convert::graph_content_hash("crafted", onnx).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Conversion { .. }), "{error}");
}
