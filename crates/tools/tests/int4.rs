//! Tests that weights of 4 bits run as int8, with the same bits as the int8 folder that they expand to.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::format::{Checkpoint, ElementType};
use mobilebert::model::{self, Weights};
use mobilebert::quant::{Bits, Scales};
use mobilebert::{Batch, Engine, EngineOptions, ErrorKind, ModelConfig, ModelFiles, Precision};
use mobilebert_tools::convert::{self, ConvertOptions};
use mobilebert_tools::writer::{self, Int8Options, Int8Report, to_int8_with};
use serde_json::{Value, json};

const NAMES: [&str; 4] = ["mobilebert-f32", "bert-f32", "mobilebert-ner-f32", "mobilebert-mlm-f32"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
}

fn int4(source: &Path, to: &Path, options: Int8Options) -> Int8Report {
    to_int8_with(&ModelFiles::Folder(source.to_owned()), to, &options.bits(Bits::Four)).unwrap()
}

fn logits(folder: &Path, options: EngineOptions) -> Vec<u32> {
    let engine = Engine::open(folder.to_str().unwrap(), options).unwrap();
    let batch = Batch::single(&[2, 9, 14, 5, 11, 3], &[0; 6]).unwrap();
    engine.forward(&batch).unwrap().values().iter().map(|x| x.to_bits()).collect()
}

fn quantization_config(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("config.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["quantization_config"].take()
}

fn content_hash(folder: &Path) -> String {
    let config = ModelConfig::from_json(&fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(Checkpoint::open_folder(folder).unwrap(), &config, &graph).unwrap();
    writer::content_hash(&config, &graph, &weights).unwrap()
}

#[test]
fn four_bits_run_as_the_int8_that_they_expand_to() {
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let (four, eight) = (folder.path().join(name), folder.path().join(format!("{name}-8")));
        let report = int4(&golden(name), &four, Int8Options::new());
        assert!(report.int4_tensors > 0 && report.int4_tensors == report.quantized_tensors, "{name}");
        assert!(report.tensors.iter().all(|t| t.stored == "int4" && t.deviation.sqnr_db() > 15.0), "{name}");
        assert_eq!(quantization_config(&four)["bits"], 4);

        let options = ConvertOptions::new().verify(true);
        let converted = convert::convert(four.to_str().unwrap(), &eight, &options, &|_, _| {}).unwrap();
        assert!(converted.notes.iter().any(|note| note.contains("4 bits")), "{:?}", converted.notes);
        assert_eq!(quantization_config(&eight)["bits"], 8);
        assert_eq!(quantization_config(&eight).get("group_size"), None);
        assert_eq!(converted.content_sha256, content_hash(&four), "{name}");
        assert_eq!(converted.content_sha256, content_hash(&eight), "{name}");

        let expected = logits(&eight, EngineOptions::new());
        assert_eq!(logits(&four, EngineOptions::new()), expected, "{name}");
        assert_ne!(logits(&golden(name), EngineOptions::new().precision(Precision::Int8)), expected);
        let f32 = EngineOptions::new().precision(Precision::F32);
        assert_eq!(logits(&four, f32.clone()), logits(&eight, f32), "{name}");

        // Quantising the folder to 8 bits expands it as well.
        let again = folder.path().join(format!("{name}-again"));
        writer::to_int8(&ModelFiles::Folder(four.clone()), &again).unwrap();
        assert_eq!(content_hash(&again), content_hash(&four), "{name}");
        assert_eq!(quantization_config(&again)["bits"], 8);
    }
}

#[test]
fn tensors_are_half_a_byte_and_a_multiplier_for_32() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("int4");
    let report = int4(&golden("bert-f32"), &to, Int8Options::new());
    let checkpoint = Checkpoint::open_folder(&to).unwrap();
    for tensor in &report.tensors {
        let [rows, columns] = tensor.shape[..] else { panic!("{:?}", tensor.shape) };
        let of = |suffix: &str| checkpoint.entry(&format!("{}{suffix}", tensor.name)).unwrap();
        let (nibbles, scales, groups) = (of(""), of("_scale"), of("_group"));
        assert_eq!(
            (&nibbles.shape, &nibbles.dtype),
            (&vec![rows, columns.div_ceil(2)], &Ok(ElementType::U8))
        );
        assert_eq!((&scales.shape, &scales.dtype), (&vec![rows], &Ok(ElementType::F32)));
        assert_eq!((&groups.shape, &groups.dtype), (&vec![rows, columns.div_ceil(32)], &Ok(ElementType::U8)));
        assert_eq!(tensor.bytes, nibbles.byte_len() + scales.byte_len() + groups.byte_len());
    }
    let again = folder.path().join("again");
    int4(&golden("bert-f32"), &again, Int8Options::new());
    let bytes = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(bytes(&to) == bytes(&again), "two runs write two files");
}

#[test]
fn modules_can_keep_eight_bits_or_stay_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("mixed");
    let options = Int8Options::new().keep_int8(["encoder.layer.0."]).keep_f32(["embeddings"]);
    let report = int4(&golden("bert-f32"), &to, options);
    let config = quantization_config(&to);
    assert_eq!(
        (&config["keep_int8"], &config["keep_f32"]),
        (&json!(["encoder.layer.0."]), &json!(["embeddings"]))
    );
    for tensor in &report.tensors {
        let expected = match &tensor.name {
            name if name.contains("layer.0.") => "int8",
            name if name.contains("embeddings") => "f32",
            _ => "int4",
        };
        assert_eq!(tensor.stored, expected, "{}", tensor.name);
    }
    let int8 = folder.path().join("int8");
    writer::to_int8(&ModelFiles::Folder(golden("bert-f32")), &int8).unwrap();
    let name = "bert.encoder.layer.0.output.dense.weight";
    let bytes = |folder: &Path| Checkpoint::open_folder(folder).unwrap().bytes(name).unwrap().to_vec();
    assert_eq!(bytes(&to), bytes(&int8));

    // With all modules in 8 bits, the folder gives the same bits as an int8 folder.
    let all = folder.path().join("all");
    let modules = ["embeddings", "encoder.", "pooler"];
    let report = int4(&golden("bert-f32"), &all, Int8Options::new().keep_int8(modules));
    assert_eq!(report.int4_tensors, 0);
    assert_eq!(logits(&all, EngineOptions::new()), logits(&int8, EngineOptions::new()));
}

#[test]
fn int8_can_be_made_4_bits_but_4_bits_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let (eight, four) = (folder.path().join("int8"), folder.path().join("int4"));
    writer::to_int8(&ModelFiles::Folder(golden("mobilebert-f32")), &eight).unwrap();
    let report = int4(&eight, &four, Int8Options::new());
    assert!(report.int4_tensors > 0 && report.tensors.iter().all(|t| t.deviation.sqnr_db() < 60.0));
    let again = folder.path().join("again");
    let refused = |source: &Path, options: Int8Options| {
        let error = to_int8_with(&ModelFiles::Folder(source.to_owned()), &again, &options).unwrap_err();
        assert!(!again.exists());
        let ErrorKind::Input { problem, .. } = error.kind() else { panic!("{error}") };
        problem.clone()
    };
    let problem = refused(&four, Int8Options::new().bits(Bits::Four));
    assert!(problem.contains("in 4 bits already"), "{problem}");
    // Scales are found from floats, and a copy keeps those that it has, and says so.
    let problem = refused(&eight, Int8Options::new().scales(Scales::LeastError));
    assert!(problem.contains("is quantised already, and the scales `error`"), "{problem}");
    let (by_error, copy) = (folder.path().join("by-error"), folder.path().join("copy"));
    let source = ModelFiles::Folder(golden("mobilebert-f32"));
    to_int8_with(&source, &by_error, &Int8Options::new().scales(Scales::LeastError)).unwrap();
    writer::to_int8(&ModelFiles::Folder(by_error.clone()), &copy).unwrap();
    let config = |folder: &Path| std::fs::read_to_string(folder.join("config.json")).unwrap();
    assert_eq!(config(&copy), config(&by_error));
    assert!(config(&copy).contains("\"scales\": \"error\""));
}
