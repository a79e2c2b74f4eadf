//! Tests what the converter says to formats that it does not read, and to folders without a model.
#![allow(clippy::panic)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use mobilebert::ErrorKind;
use mobilebert_tools::convert::{self, ConvertOptions};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/formats").join(name)
}

fn failure(source: &Path) -> mobilebert::Error {
    let target = tempfile::tempdir().unwrap();
    let destination = target.path().join("model");
    let source = source.to_str().unwrap();
    convert::convert(source, &destination, &ConvertOptions::new(), &|_, _| {}).expect_err("refused")
}

fn keras_archive() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["metadata.json", "config.json", "model.weights.h5"] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(b"{}").unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The beginnings are those of files that TensorFlow 2.21 and Keras 3.15 have written; those of GGUF, ONNX
/// Runtime and ExecuTorch are written from descriptions of the formats.
#[test]
fn formats_are_recognised_by_their_content() {
    let saved_model = b"\x08\x01\x12\x98\xba\x50\x0a\xb3\x1e\x12\x83\x1e\x0a\x44\x0a\x05AddV2\x12";
    let frozen = b"\x0a\x3a\x0a\x09input_ids\x12\x0bPlaceholder*\x0b\x0a\x05dtype\x12\x020\x03";
    let archive = keras_archive();
    let cases: [(&str, &[u8], &str, &str); 8] = [
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n\0\0\0\0", "HDF5", "load_tf2_checkpoint_in_pytorch_model"),
        ("model.keras", &archive, "Keras archive", "keras.models.load_model"),
        ("saved_model.pb", saved_model, "SavedModel", "from_saved_model"),
        ("frozen.pb", frozen, "frozen", "from_frozen_graph"),
        ("model.gguf", b"GGUF\x03\0\0\0", "GGUF", "made from"),
        ("model.ort", b"\x20\0\0\0ORTM\0\0", ".ort", ".onnx file"),
        ("model.pte", b"\x20\0\0\0ET12\0\0", "ExecuTorch", "PyTorch model"),
        ("model.bin", b"something", "something else", "save_pretrained"),
    ];
    for (name, bytes, what, hint) in cases {
        let folder = tempfile::tempdir().unwrap();
        // The name does not help.
        for file in [name, "renamed"] {
            fs::write(folder.path().join(file), bytes).unwrap();
            let error = failure(&folder.path().join(file));
            let ErrorKind::Conversion { found, hint: said, .. } = error.kind() else {
                panic!("{name}: {error}")
            };
            assert!(found.contains(what) && said.contains(hint), "{name}: {error}");
        }
        if what != "something else" {
            assert!(failure(folder.path()).to_string().contains(what), "{name} in a folder");
        }
    }
}

#[test]
fn a_saved_model_is_recognised_by_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("variables")).unwrap();
    fs::write(folder.path().join("saved_model.pb"), b"\x08\x01\x12\x98\xba\x50\x0a\xb3\x1e").unwrap();
    fs::write(folder.path().join("fingerprint.pb"), b"\x08\xe5\xa8\x96\xd8").unwrap();
    assert!(failure(folder.path()).to_string().contains("SavedModel"));
}

#[test]
fn checkpoints_of_other_kinds_say_what_they_are() {
    for source in ["objects", "objects/ckpt", "objects/ckpt.index"] {
        let error = failure(&golden(source));
        let ErrorKind::Conversion { place, found, hint, .. } = error.kind() else {
            panic!("{source}: {error}")
        };
        assert!(place.contains("_CHECKPOINTABLE_OBJECT_GRAPH") && found.contains("TensorFlow 2"), "{error}");
        assert!(hint.contains("tf.saved_model.save"), "{error}");
    }
    for source in ["version-1", "version-1/model.ckpt"] {
        let error = failure(&golden(source));
        let ErrorKind::Format { expected, found, .. } = error.kind() else { panic!("{source}: {error}") };
        assert!(expected.contains("Saver") && found.contains("version 1"), "{error}");
    }
}

#[test]
fn a_folder_without_a_model_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let empty = failure(folder.path()).to_string();
    assert!(empty.contains("it is empty") && empty.contains("NAME.onnx"), "{empty}");
    fs::write(folder.path().join("readme.txt"), "nothing here").unwrap();
    fs::create_dir(folder.path().join("checkpoints")).unwrap();
    let error = failure(folder.path());
    assert!(matches!(error.kind(), ErrorKind::MissingFile { .. }), "{error}");
    assert!(error.to_string().contains("it holds checkpoints, readme.txt"), "{error}");
}

/// transformers' TensorFlow classes write safetensors with the names and shapes of their variables.
#[test]
fn safetensors_of_tensorflow_classes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let header = concat!(
        r#"{"__metadata__":{"format":"tf"},"#,
        r#""bert/pooler/dense/bias:0":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend([0; 4]);
    fs::write(folder.path().join("model.safetensors"), file).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    let error = failure(folder.path());
    let ErrorKind::Conversion { place, hint, .. } = error.kind() else { panic!("{error}") };
    assert!(
        place.contains("bert/pooler/dense/bias:0") && hint.contains("safe_serialization=False"),
        "{error}"
    );
}
