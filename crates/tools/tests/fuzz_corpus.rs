//! Runs the fuzz targets on the inputs of their corpus. `cargo +nightly fuzz run TARGET` searches for new
//! inputs.
#![allow(clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/entry_points.rs"]
mod entry_points;

fn run(target: &str, entry_point: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("a file").path();
        eprintln!("{}", path.display());
        entry_point(&fs::read(path).expect("a file"));
        files += 1;
    }
    assert!(files > 5, "{} holds {files} files", folder.display());
}

#[test]
fn config() {
    run("config", entry_points::config);
}

#[test]
fn safetensors() {
    run("safetensors", entry_points::safetensors);
}

#[test]
fn pickle() {
    run("pickle", entry_points::pickle);
}

#[test]
fn tokenizer() {
    run("tokenizer", entry_points::tokenizer);
}

#[test]
fn tensorbundle() {
    run("tensorbundle", entry_points::tensorbundle);
}

#[test]
fn onnx() {
    run("onnx", entry_points::onnx);
}

#[test]
fn tflite() {
    run("tflite", entry_points::tflite);
}

#[test]
fn int4() {
    run("int4", entry_points::int4);
    // A file that is refused for another reason would not test anything about 4 bits.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/int4");
    let tensors = |name: &str| entry_points::int4_tensors(&fs::read(folder.join(name)).expect("a file"));
    assert_eq!((tensors("whole"), tensors("eight")), (Some(8), Some(8)));
}
