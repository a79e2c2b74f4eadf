//! Converts ONNX graphs without an input for token types, and graphs without one for the mask either.

use std::path::{Path, PathBuf};

use mobilebert::format::Checkpoint;
use mobilebert_tools::convert::{self, ConvertOptions};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/convert").join(name)
}

/// Converts a model, and checks its logits to 1e-4 of their range against those that PyTorch computed from
/// the same inputs.
fn check(source: &Path) {
    let target = tempfile::tempdir().unwrap();
    let destination = target.path().join("model");
    let options = ConvertOptions::new().verify(true);
    let report = convert::convert(source.to_str().unwrap(), &destination, &options, &|_, _| {})
        .unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let recorded = report.verification.unwrap().recorded;
    assert!(recorded.is_some_and(|deviation| deviation < 1e-4), "{}: {recorded:?}", source.display());
    assert!(report.notes.iter().any(|note| note.contains("token types")), "{:?}", report.notes);
    // The row that the graph never looks up is kept.
    let written = Checkpoint::open_folder(&destination).unwrap();
    let types = written
        .entries()
        .map(|(name, _)| name.to_owned())
        .find(|name| name.ends_with("token_type_embeddings.weight"));
    let types = written.f32(&types.unwrap()).unwrap();
    let (first, second) = types.split_at(types.len() / 2);
    assert!(first != second && second.iter().any(|&x| x != 0.0));
}

#[test]
fn models_exported_without_token_types_are_converted() {
    for name in ["bert-sdpa-2", "bert-eager-1", "mobilebert-eager-2", "mobilebert-sdpa-1"] {
        let source = golden(&format!("onnx-{name}-inputs"));
        check(&source);
        // Without a configuration, the graph itself is enough.
        let folder = tempfile::tempdir().unwrap();
        for file in ["model.onnx", "expected.json", "vocab.txt"] {
            std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
        }
        check(folder.path());
    }
}

#[test]
fn the_shared_case_is_converted() {
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases/onnx_bert_two_inputs"));
    if !case.is_dir() {
        eprintln!("SKIPPED: {} is absent", case.display());
        return;
    }
    check(case);
}
