//! Converts ONNX graphs in the forms that exporters, optimisers and quantisers leave them in.
#![allow(clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::{Error, ErrorKind};
use mobilebert_tools::convert::{self, ConvertOptions, ConvertReport};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

/// Converts a model, and verifies its logits against the recorded ones: to 1e-4 of the largest if the source
/// computes in floats, to half of it if it computes in int8.
fn convert(source: &Path) -> mobilebert::Result<ConvertReport> {
    let target = tempfile::tempdir().unwrap();
    let options = ConvertOptions::new().verify(true);
    convert::convert(source.to_str().unwrap(), &target.path().join("model"), &options, &|_, _| {})
}

fn converted(name: &str) -> ConvertReport {
    let report = convert(&golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(report.verification.as_ref().unwrap().recorded.is_some(), "{name} has no recorded logits");
    report
}

fn refused(source: &Path) -> Error {
    match convert(source) {
        Ok(report) => panic!("{}: converted as {}", source.display(), report.class),
        Err(error) => error,
    }
}

/// Returns a folder that holds the files of a golden model, except for those that `leave` names.
fn copy(name: &str, leave: &[&str]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap();
        if !leave.iter().any(|name| file == *name) {
            fs::copy(&path, copy.path().join(file)).unwrap();
        }
    }
    copy
}

/// Opsets, exporters, data types and optimisers change the graph and not the weights.
#[test]
fn the_same_weights_have_one_hash_in_every_graph() {
    let classifier = converted("checkpoints/bert-f32").content_sha256;
    for form in [
        "opset11",
        "dynamo-int32",
        "dynamo-own-external",
        "script-initializers-as-inputs",
        "script-fused",
        "dynamo-session-extended",
    ] {
        let report = converted(&format!("onnx/bert-classifier-{form}"));
        assert_eq!(report.content_sha256, classifier, "{form}");
    }
    let answers = converted("checkpoints/mobilebert-f32").content_sha256;
    assert_eq!(converted("onnx/mobilebert-qa-script-session-extended").content_sha256, answers);
    let masked = converted("checkpoints/mobilebert-mlm-f32").content_sha256;
    assert_eq!(converted("onnx/mobilebert-masked-dynamo18").content_sha256, masked);
}

#[test]
fn every_head_is_converted_with_and_without_a_configuration() {
    for (form, class) in [
        ("bert-qa-opset14-sdpa", "BertForQuestionAnswering"),
        ("bert-encoder-dynamo20-sdpa", "BertModel"),
        ("mobilebert-classifier-opset20-sdpa", "MobileBertForSequenceClassification"),
        ("mobilebert-masked-dynamo18", "MobileBertForMaskedLM"),
        ("bert-classifier-script-fused", "BertForSequenceClassification"),
        ("mobilebert-qa-script-session-extended", "MobileBertForQuestionAnswering"),
        ("bert-classifier-script-dynamic-all", "BertForSequenceClassification"),
        ("bert-classifier-script-qdq-u8u8", "BertForSequenceClassification"),
        ("mobilebert-qa-dynamo-qdq-s8s8-per-channel", "MobileBertForQuestionAnswering"),
    ] {
        let name = format!("onnx/{form}");
        let report = converted(&name);
        assert_eq!(report.class, class, "{form}");
        let alone = convert(copy(&name, &["config.json"]).path()).unwrap_or_else(|e| panic!("{form}: {e}"));
        assert_eq!((&*alone.class, &alone.content_sha256), (class, &report.content_sha256), "{form}");
    }
}

/// The recorded logits are those of the rounded weights, computed in f32.
#[test]
fn halves_are_converted_with_their_rounded_weights() {
    converted("onnx/mobilebert-qa-script-half-model-sdpa");
    let report = converted("onnx/bert-classifier-script-half-converted");
    // The converter of onnxconverter-common has no half as small as 1e-12.
    assert!(report.notes.iter().any(|note| note.contains("epsilon")), "{:?}", report.notes);
}

#[test]
fn a_fixed_length_takes_the_place_of_the_configured_positions() {
    let report = converted("onnx/bert-classifier-dynamo-static-sdpa");
    assert!(report.notes.iter().any(|note| note.contains("is 4, not 24;")), "{:?}", report.notes);

    // A configuration that gives no positions is not compared with any.
    let folder = copy("onnx/bert-classifier-dynamo-static-sdpa", &[]);
    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let without = text.replace("\"max_position_embeddings\":24,", "");
    assert_ne!(without, text);
    fs::write(&config, without).unwrap();
    let report = convert(folder.path()).unwrap();
    assert!(
        report.notes.iter().any(|note| note.contains("max_position_embeddings is 4; export")),
        "{:?}",
        report.notes
    );
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_export_instead() {
    for (form, node, instead) in [
        ("bert-classifier-script-qoperator-u8s8", "com.microsoft.QLinearAdd", "QuantFormat.QDQ"),
        ("bert-classifier-script-four-bits", "com.microsoft.MatMulNBits", "convert the float model"),
        ("mobilebert-qa-dynamo-unoptimised", "SplitToSequence", "optimize=True"),
    ] {
        for leave in [&[][..], &["config.json"]] {
            let error = refused(copy(&format!("onnx/{form}"), leave).path());
            let ErrorKind::Conversion { place, found, hint, .. } = error.kind() else {
                panic!("{form}: {error}")
            };
            assert!(place.starts_with("node ") && found.contains(node), "{form}: {error}");
            assert!(hint.contains(instead), "{form}: {error}");
        }
    }
}

/// Models of other families have the operators of a BERT, and other numbers.
#[test]
fn other_architectures_are_not_taken_for_a_bert() {
    for (form, module, expected) in [
        ("roberta-encoder-script", "embeddings.position_embeddings.weight", "positions 0, 1, 2"),
        ("mpnet-encoder-dynamo", "encoder.layer.1.attention.self", "learned bias"),
        ("decoder-encoder-dynamo", "encoder.layer.1.attention.self", "padding only"),
    ] {
        let error = refused(&golden(&format!("onnx/{form}")));
        let ErrorKind::Conversion { module: at, expected: found, hint, .. } = error.kind() else {
            panic!("{form}: {error}")
        };
        assert!(**at == *module && found.contains(expected), "{form}: {error}");
        assert!(hint.contains("another architecture"), "{form}: {error}");
    }
}

/// Optimum copies the configuration of the whole model beside the encoder that it exports, and the hub keeps
/// graphs in a folder of their own.
#[test]
fn layouts_of_optimum_and_of_the_hub_are_found() {
    let folder = copy("onnx/bert-encoder-dynamo20-sdpa", &["config.json"]);
    let config = fs::read_to_string(golden("onnx/bert-encoder-dynamo20-sdpa/config.json")).unwrap();
    assert!(config.contains("\"BertModel\""), "{config}");
    let masked = config.replace("\"BertModel\"", "\"BertForMaskedLM\"");
    fs::write(folder.path().join("config.json"), masked).unwrap();
    let report = convert(folder.path()).unwrap();
    assert_eq!(report.class, "BertModel");
    assert!(report.notes.iter().any(|note| note.contains("another head")), "{:?}", report.notes);

    let graphs = folder.path().join("onnx");
    fs::create_dir(&graphs).unwrap();
    fs::rename(folder.path().join("model.onnx"), graphs.join("model.onnx")).unwrap();
    for source in [folder.path(), &graphs, &graphs.join("model.onnx")] {
        assert_eq!(convert(source).unwrap().content_sha256, report.content_sha256, "{}", source.display());
    }
    fs::copy(graphs.join("model.onnx"), graphs.join("model_fp16.onnx")).unwrap();
    let error = refused(folder.path()).to_string();
    assert!(error.contains("model.onnx") && error.contains("model_fp16.onnx"), "{error}");
    assert_eq!(convert(&graphs.join("model_fp16.onnx")).unwrap().content_sha256, report.content_sha256);
}

/// Weights beside a graph are looked for in the graph's folder, not in that of the configuration.
#[test]
fn external_weights_stand_beside_their_graph() {
    let folder = copy("onnx/bert-classifier-dynamo-own-external", &[]);
    let graphs = folder.path().join("onnx");
    fs::create_dir(&graphs).unwrap();
    for file in ["model.onnx", "model.onnx.data"] {
        fs::rename(folder.path().join(file), graphs.join(file)).unwrap();
    }
    let report = convert(folder.path()).unwrap();
    assert_eq!(report.content_sha256, converted("onnx/bert-classifier-dynamo-own-external").content_sha256);
}

/// Every file of `eval/reference/make_onnx_matrix.py --matrix FOLDER` converts to the recorded logits, or is
/// refused with the place of what was found.
#[test]
fn the_whole_matrix_converts_or_is_refused_by_name() {
    let Some(folder) = std::env::var_os("MOBILEBERT_ONNX_MATRIX") else {
        eprintln!("SKIPPED: MOBILEBERT_ONNX_MATRIX is not set");
        return;
    };
    let (mut good, mut bad) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match convert(&path) {
            Ok(_) => good += 1,
            Err(error) => match error.kind() {
                ErrorKind::Conversion { place, found, hint, .. } => {
                    println!("{}: {place}: {found}; {hint}", path.display());
                }
                _ => bad.push(format!("{}: {error}", path.display())),
            },
        }
    }
    assert!(bad.is_empty() && good > 0, "{good} converted; wrong: {bad:#?}");
}
