//! Tests that int8 from f32 weights gives the same bits as int8 from the folder that `quantize` writes.

use std::path::Path;

use mobilebert::{Batch, Engine, EngineOptions, ModelFiles, Precision};
use mobilebert_tools::writer;

#[test]
fn weights_quantised_at_load_are_those_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["mobilebert-f32", "mobilebert-f16", "bert-f32", "mobilebert-ner-f32", "mobilebert-mlm-f32"] {
        let source = Path::new("../../tests/golden/checkpoints").join(name);
        let destination = folder.path().join(name);
        writer::to_int8(&ModelFiles::resolve(source.to_str().unwrap()).unwrap(), &destination).unwrap();
        let logits = |folder: &Path, options: EngineOptions| {
            let engine = Engine::open(folder.to_str().unwrap(), options).unwrap();
            assert_eq!(engine.backend().precision(), Precision::Int8);
            let batch = Batch::single(&[2, 9, 14, 5, 11, 3], &[0; 6]).unwrap();
            let output = engine.forward(&batch).unwrap();
            output.values().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let at_load = logits(&source, EngineOptions::new().precision(Precision::Int8));
        let stored = logits(&destination, EngineOptions::new());
        assert_eq!(at_load, stored, "{name}");
    }
}
