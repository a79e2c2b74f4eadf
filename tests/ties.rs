//! Compares the table and the bias that a masked-LM head scores with to those of the original implementation
//! (`tests/golden/ties`, made by `eval/reference/make_tie_goldens.py`).

use std::fs;
use std::path::Path;

use mobilebert::{Batch, Engine, EngineOptions, MemoryFiles, Precision};
use safetensors::tensor::SafeTensors;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    config: serde_json::Value,
    left_out: Vec<String>,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

#[test]
fn tables_and_biases_are_those_of_the_original() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ties");
    for family in ["bert", "mobilebert"] {
        let bytes = fs::read(folder.join(format!("{family}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let lines = fs::read_to_string(folder.join(format!("{family}.jsonl"))).unwrap();
        assert_eq!(lines.lines().count(), 10);
        for line in lines.lines() {
            let golden: Golden = serde_json::from_str(line).unwrap();
            let kept = file.tensors().into_iter().filter(|(name, _)| !golden.left_out.contains(name));
            let files = MemoryFiles::new(family)
                .file("config.json", golden.config.to_string().into_bytes())
                .file("model.safetensors", safetensors::serialize(kept, None).unwrap());
            let case = format!(
                "{family}, tied {}, without {:?}",
                golden.config["tie_word_embeddings"], golden.left_out
            );
            let engine = Engine::open(files, EngineOptions::new().precision(Precision::F32))
                .unwrap_or_else(|e| panic!("{case}: {e}"));
            let mut batch = Batch::new();
            batch.push(&golden.ids, &vec![0; golden.ids.len()]).unwrap();
            let output = engine.forward(&batch).unwrap();
            let found: Vec<f32> = (0..golden.ids.len()).flat_map(|row| output.row(row).to_vec()).collect();
            assert_eq!(found.len(), golden.logits.len());
            let error = found.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let scale = golden.logits.iter().fold(1.0_f32, |scale, v| scale.max(v.abs()));
            assert!(error < 1e-5 * scale, "{case}: {error} of {scale}");
        }
    }
}
