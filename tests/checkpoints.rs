//! Tests that one model gives the same tensors in every file format that the loader reads.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use mobilebert::format::{Checkpoint, WeightSource};
use mobilebert::graph::ParameterId;
use mobilebert::model::Weights;
use mobilebert::{ErrorKind, ModelConfig, TensorProblem, model};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn tensors(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let checkpoint = Checkpoint::open_folder(&folder(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let float = |(name, entry): (&str, &mobilebert::format::Entry)| {
        let values = checkpoint.f32(name).expect("a float tensor").into_owned();
        (name.to_owned(), (entry.shape.clone(), values))
    };
    checkpoint.entries().map(float).collect()
}

#[test]
fn f32_files_hold_the_same_tensors() {
    let expected = tensors("mobilebert-f32");
    assert!(expected.len() > 50);
    for name in ["mobilebert-sharded", "mobilebert-bin", "mobilebert-bin-legacy"] {
        assert!(tensors(name) == expected, "{name}");
    }
}

#[test]
fn half_precision_files_hold_the_rounded_tensors() {
    let f16: fn(f32) -> f32 = |v| f16::from_f32(v).to_f32();
    let bf16: fn(f32) -> f32 = |v| bf16::from_f32(v).to_f32();
    for (name, round) in [("mobilebert-f16", f16), ("mobilebert-bf16", bf16)] {
        let mut expected = tensors("mobilebert-f32");
        expected.values_mut().flat_map(|(_, values)| values).for_each(|v| *v = round(*v));
        assert!(tensors(name) == expected, "{name}");
    }
}

#[test]
fn every_folder_has_the_weights_of_its_graph() {
    for entry in fs::read_dir(folder("")).expect("goldens") {
        let path = entry.expect("a folder").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let text = fs::read_to_string(path.join("config.json")).expect("config.json");
        let config = ModelConfig::from_json(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        if name == "hostile-pickle" {
            continue;
        }
        let graph = model::build(&config, config.head);
        let checkpoint = Checkpoint::open_folder(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let weights = Weights::bind(checkpoint, &config, &graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (i, parameter) in graph.parameters.iter().enumerate() {
            let values = weights.tensor(ParameterId(i)).expect("a tensor").into_f32();
            assert_eq!(values.len(), parameter.shape.iter().product::<usize>(), "{name}: {}", parameter.name);
        }
    }
}

#[test]
fn tensors_without_a_place_are_refused() {
    let text = fs::read_to_string(folder("mobilebert-f32").join("config.json")).expect("config.json");
    let config = ModelConfig::from_json(&text).expect("a configuration");
    let graph = model::build(&config, config.head);
    let bytes = fs::read(folder("mobilebert-f32").join("model.safetensors")).expect("the golden");
    let file = SafeTensors::deserialize(&bytes).expect("a valid file");
    let one = 1f32.to_le_bytes();
    let bind = |name: &str| {
        let more = TensorView::new(Dtype::F32, vec![1], &one).expect("a tensor");
        let tensors = file.tensors().into_iter().chain([(name.to_owned(), more)]);
        let copy = tempfile::tempdir().expect("a folder");
        let path = copy.path().join("model.safetensors");
        fs::write(&path, safetensors::serialize(tensors, None).expect("a file")).expect("written");
        Weights::bind(Checkpoint::open_folder(copy.path()).expect("readable"), &config, &graph)
    };
    for name in [
        "lora.weight",
        "mobilebert.encoder.layer.2.attention.self.query.weight",
        "mobilebert.embeddings.word_embeddings.weights",
        "classifier.weight.bias",
    ] {
        let error = bind(name).err().unwrap_or_else(|| panic!("`{name}` was accepted"));
        let ErrorKind::Tensor { tensor, problem, .. } = error.kind() else { panic!("{error}") };
        assert_eq!((tensor.as_str(), problem), (name, &TensorProblem::Unknown));
    }
    // The tensors of another head, and a buffer that older versions of transformers wrote, are left aside by
    // name.
    for name in ["cls.seq_relationship.bias", "mobilebert.embeddings.position_ids"] {
        let weights = bind(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(weights.extra().iter().any(|extra| extra == name), "{:?}", weights.extra());
    }
}

#[test]
fn code_in_a_pickle_is_named_and_not_run() {
    let error = Checkpoint::open_folder(&folder("hostile-pickle")).expect_err("refused");
    let ErrorKind::Format { file, offset, found, .. } = error.kind() else { panic!("{error}") };
    assert!(file.ends_with("pytorch_model.bin"), "{error}");
    assert_eq!(found, "`posix.getcwd`");
    let bytes = fs::read(file).expect("the file");
    assert!(bytes[*offset as usize..].starts_with(b"cposix\ngetcwd\n"), "{error}");
}

mod folders {
    use super::*;

    fn copy(name: &str) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        for entry in fs::read_dir(folder(name)).expect("goldens") {
            let path = entry.expect("a file").path();
            fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
        }
        copy
    }

    fn error(folder: &Path) -> mobilebert::Error {
        Checkpoint::open_folder(folder).expect_err("refused")
    }

    #[test]
    fn without_weights_say_what_was_looked_for() {
        let empty = tempfile::tempdir().expect("a folder");
        let error = error(empty.path());
        let ErrorKind::MissingFile { expected, .. } = error.kind() else { panic!("{error}") };
        let names = [
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
        ];
        assert_eq!(*expected, names);
        assert!(matches!(
            Checkpoint::open_folder(&empty.path().join("nowhere")).expect_err("refused").kind(),
            ErrorKind::MissingFile { .. }
        ));
    }

    #[test]
    fn without_a_shard_name_it() {
        let folder = copy("mobilebert-sharded");
        fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).expect("removed");
        let error = error(folder.path());
        let ErrorKind::MissingFile { expected, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(*expected, ["model-00002-of-00002.safetensors"]);
    }

    #[test]
    fn with_a_wrong_index_are_refused() {
        let folder = copy("mobilebert-sharded");
        let path = folder.path().join("model.safetensors.index.json");
        let index = fs::read_to_string(&path).expect("the index");
        let shard = "model-00001-of-00002.safetensors";
        let first = index.find(shard).expect("a shard");
        let with = |shard: &str| format!("{}{shard}{}", &index[..first], &index[first + 32..]);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (text, message) in [
            (with("model-00002-of-00002.safetensors"), "model-00002-of-00002.safetensors; found it in "),
            (with("../mobilebert-f32/model.safetensors"), "found \"../mobilebert-f32/model.safetensors\""),
            (with("/etc/passwd"), "found \"/etc/passwd\""),
            (with(".."), "found \"..\""),
            (with("."), "found \".\""),
            (with(""), "found \"\""),
            (with("a\\\\b"), "plain file names"),
            (with("./model.safetensors"), "plain file names"),
            (index.replacen("mobilebert.", "x.", 1), "found no such tensor in any shard"),
            (String::new(), "EOF"),
            ("{}".into(), "missing field `weight_map`"),
            (r#"{"weight_map": {"a": 1}}"#.into(), "expected a string"),
            (deep.clone(), "invalid type"),
            (format!(r#"{{"metadata": {deep}, "weight_map": {{}}}}"#), "recursion limit exceeded"),
            (r#"{"weight_map": {}}"#.into(), "an empty one"),
        ] {
            fs::write(&path, &text).expect("written");
            let error = error(folder.path()).to_string();
            assert!(error.contains(message), "{message}: {error}");
            assert!(error.contains("model.safetensors.index.json"), "{error}");
        }
    }

    #[test]
    fn prefer_safetensors() {
        let folder = copy("mobilebert-f32");
        fs::write(folder.path().join("pytorch_model.bin"), b"not read").expect("written");
        Checkpoint::open_folder(folder.path()).expect("the safetensors file");
    }

    #[test]
    fn read_sharded_pytorch_files() {
        let folder = copy("mobilebert-bin");
        fs::rename(folder.path().join("pytorch_model.bin"), folder.path().join("shard.bin"))
            .expect("renamed");
        let tensor = "mobilebert.embeddings.word_embeddings.weight";
        let index = format!(r#"{{"weight_map": {{"{tensor}": "shard.bin"}}}}"#);
        fs::write(folder.path().join("pytorch_model.bin.index.json"), index).expect("written");
        let checkpoint = Checkpoint::open_folder(folder.path()).expect("shards");
        let (found, expected) =
            (checkpoint.entry(tensor).map(|e| e.shape.clone()), &tensors("mobilebert-f32")[tensor].0);
        assert_eq!(found.as_ref(), Some(expected));
    }
}
