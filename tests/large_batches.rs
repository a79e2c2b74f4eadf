//! Runs a batch of 64 sequences of 512 tokens, and bounds the memory that it takes.

use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Engine, EngineOptions, Head, ModelConfig, Precision};

const CONFIG: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 1, "vocab_size": 60}"#;

const SEQUENCES: usize = 64;
const LENGTH: usize = 512;

/// The most memory of a pass. The widest values of a MobileBERT are 512 columns of f32 for each token, and a
/// few of them are alive at the same time.
const MOST_FOR_EACH_TOKEN: usize = 4 * 512 * 4;

fn ids(sequence: usize) -> Vec<u32> {
    (0..LENGTH).map(|i| ((i * 37 + sequence * 11) % 60) as u32).collect()
}

#[test]
fn sequences_of_a_large_batch_have_the_bits_of_each_alone() {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let graph = model::build(&config, Head::QuestionAnswering);
    let weights = Synthetic::new(&graph);
    let options = EngineOptions::new().threads(2).precision(Precision::Int8);
    let engine = Engine::from_weights(config, graph, &weights, options).unwrap();
    let mut batch = Batch::new();
    for sequence in 0..SEQUENCES {
        batch.push(&ids(sequence), &[0; LENGTH]).unwrap();
    }
    let together = engine.forward(&batch).unwrap();
    assert_eq!(together.rows(), SEQUENCES * LENGTH);
    let bytes = engine.arena_bytes();
    eprintln!("{bytes} bytes, {} for each token", bytes / (SEQUENCES * LENGTH));
    assert!(bytes <= MOST_FOR_EACH_TOKEN * SEQUENCES * LENGTH, "{bytes} bytes");
    let width = LENGTH * together.width();
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for sequence in [0, 1, 31, SEQUENCES - 1] {
        let alone = engine.forward(&Batch::single(&ids(sequence), &[0; LENGTH]).unwrap()).unwrap();
        let of_batch = &together.values()[sequence * width..(sequence + 1) * width];
        assert_eq!(bits(of_batch), bits(alone.values()), "sequence {sequence}");
    }
    engine.trim();
    assert_eq!(engine.arena_bytes(), 0);
}
