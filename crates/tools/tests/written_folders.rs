//! Tests which folders a writer may replace, what a written folder may hold, and what killed runs leave
//! behind.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::{Embedder, ErrorKind, ModelFiles, TensorProblem};
use mobilebert_tools::convert::{self, ConvertOptions, ConvertReport};
use mobilebert_tools::writer::{self, Int8Options};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints/bert-f32")
}

fn convert(source: &Path, destination: &Path) -> mobilebert::Result<ConvertReport> {
    let options = ConvertOptions::new().force(true);
    convert::convert(source.to_str().unwrap(), destination, &options, &|_, _| {})
}

/// Makes a copy of the golden model in which one element of a tensor has another value.
fn with_element(folder: &Path, tensor: &str, index: usize, value: f32) {
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let copy = folder.join(path.file_name().unwrap());
        if !copy.exists() {
            fs::copy(&path, copy).unwrap();
        }
    }
    let file = folder.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let entry = header.as_object().unwrap().iter().find(|(name, _)| name.ends_with(tensor)).unwrap().1;
    let at = 8 + length + entry["data_offsets"][0].as_u64().unwrap() as usize + 4 * index;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    fs::write(&file, bytes).unwrap();
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    const TENSOR: &str = "encoder.layer.0.output.dense.weight";
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        with_element(&source, TENSOR, 5, value);
        let destination = folder.path().join("model");
        let converted = convert(&source, &destination).map(drop);
        let quantised = writer::to_int8(&ModelFiles::Folder(source), &destination).map(drop);
        for result in [converted, quantised] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains(TENSOR), "{error}");
            let ErrorKind::Tensor { problem, .. } = error.kind() else { panic!("{error:?}") };
            assert!(matches!(problem, TensorProblem::NotFinite { index: 5, .. }), "{error:?}");
        }
        assert!(!destination.exists());
    }
}

#[test]
fn finite_weights_that_overflow_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    // Two labels weigh the same number alike and have biases at opposite ends, so one of their sums
    // overflows, whatever the sign of the number.
    for (row, bias) in [(0, 3.3e38), (1, -3.3e38)] {
        with_element(&source, "classifier.weight", row * 16, 3.4e38);
        with_element(&source, "classifier.bias", row, bias);
    }
    let destination = folder.path().join("model");
    let error = convert(&source, &destination).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFinite { .. }), "{error:?}");
    assert!(!destination.exists());
}

#[test]
fn files_that_are_no_part_of_a_model_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("model");
    convert(&golden(), &destination).unwrap();
    fs::write(destination.join("README.md"), "a card").unwrap();
    convert(&golden(), &destination).unwrap();
    assert!(!destination.join("README.md").exists(), "replaced as a whole");
    for (name, is_folder) in [("notes.txt", false), ("thesis", true), ("model-backup.safetensors", false)] {
        let path = destination.join(name);
        if is_folder {
            fs::create_dir(&path).unwrap()
        } else {
            fs::write(&path, "mine").unwrap()
        }
        let error = convert(&golden(), &destination).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Input { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(path.exists());
        if is_folder { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
}

#[test]
fn what_ended_processes_left_behind_is_removed_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("model.safetensors"), "half of it").unwrap();
        (fs::File::create(path.join(".lock")).unwrap(), path)
    };
    let (abandoned, abandoned_path) = make(".model.4000000-0.partial");
    drop(abandoned);
    let (running, running_path) = make(".model.4000001-0.partial");
    running.lock().unwrap();
    let (other, other_path) = make(".another.4000000-0.partial");
    drop(other);
    let report = convert(&golden(), &folder.path().join("model")).unwrap();
    assert!(!abandoned_path.exists());
    assert!(running_path.join("model.safetensors").exists(), "another process is writing it");
    assert!(other_path.exists(), "it belongs to another destination");
    let note = report.notes.iter().find(|note| note.contains("4000000-0")).expect("named");
    assert!(!note.contains("4000001"), "{note}");
    let left: Vec<_> =
        fs::read_dir(folder.path().join("model")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name != ".lock"), "{left:?}");
}

/// The settings for making vectors are part of a model, whatever the form of its weights.
#[test]
fn copies_keep_the_files_of_sentence_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir_all(source.join("1_Pooling")).unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, source.join(path.file_name().unwrap())).unwrap();
    }
    let modules = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
    fs::write(source.join("modules.json"), modules).unwrap();
    let pooling = r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}"#;
    fs::write(source.join("1_Pooling/config.json"), pooling).unwrap();
    let expected = Embedder::open(&source).unwrap().embed("the king").unwrap();
    let (converted, int8) = (folder.path().join("converted"), folder.path().join("int8"));
    convert(&source, &converted).unwrap();
    assert_eq!(Embedder::open(&converted).unwrap().embed("the king").unwrap(), expected);
    writer::to_int8(&ModelFiles::Folder(source), &int8).unwrap();
    let embedder = Embedder::open(&int8).unwrap();
    assert!(embedder.is_trained_for_embeddings());
    assert_eq!(embedder.embed("the king").unwrap().embedding.len(), expected.embedding.len());
}

/// A caller's function that panics ends the conversion as an error does: nothing is left, and nothing is replaced.
#[test]
fn a_progress_that_panics_leaves_the_folder_as_it_was() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let target = tempfile::tempdir().unwrap();
    let destination = target.path().join("model");
    convert(&golden(), &destination).unwrap();
    let before = fs::read(destination.join("model.safetensors")).unwrap();
    for panic_at in [1, 5] {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let progress = || {
            let call = 1 + calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(call < panic_at, "of the progress");
        };
        let options = ConvertOptions::new().force(true);
        let source = golden();
        let converted =
            || convert::convert(source.to_str().unwrap(), &destination, &options, &|_, _| progress());
        let panic = catch_unwind(AssertUnwindSafe(converted)).expect_err("a panic");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"of the progress"));
        let names: Vec<_> = fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["model"]);
        assert!(fs::read(destination.join("model.safetensors")).unwrap() == before);
    }
    convert(&golden(), &destination).unwrap();
}

/// A run may take hours. What has appeared at the destination meanwhile belongs to somebody.
#[test]
fn what_appears_at_the_destination_during_a_run_stays() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("int8");
    let source = ModelFiles::Folder(golden());
    let appears = |done: usize, _: usize| {
        if done == 1 {
            fs::create_dir(&to).unwrap();
            fs::write(to.join("thesis.txt"), "precious").unwrap();
        }
    };
    for force in [false, true] {
        let options = Int8Options::new().force(force);
        let error = writer::to_int8_watched(&source, &to, &options, &appears).unwrap_err();
        let expected = if force { "is not a model folder" } else { "already exists" };
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read_to_string(to.join("thesis.txt")).unwrap(), "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left under construction");
        fs::remove_dir_all(&to).unwrap();
    }
}
