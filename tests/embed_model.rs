//! Tests the built-in model `embed`: its vectors are those of PyTorch, and texts that mean the same are nearer
//! to each other than to others.
//!
//! `golden/answers/embed.json` holds the vectors that `transformers` and sentence-transformers' formula give
//! for the same (dequantised) weights.

use mobilebert::{EmbedOptions, Embedder, Embedding, EngineOptions, Precision};
use serde_json::Value;

/// The tolerance for f32 sums in another order.
const TOLERANCE: f64 = 1e-5;

/// The least cosine between a vector in int8 and the same one in f32.
const MIN_INT8_COSINE: f32 = 0.99;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/answers/embed.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(golden: &Value) -> Vec<&str> {
    golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn open(precision: Precision) -> Embedder {
    let engine = EngineOptions::new().precision(precision);
    Embedder::open_with("embed", engine, EmbedOptions::default()).unwrap()
}

#[test]
fn vectors_in_f32_are_those_of_pytorch_and_int8_is_near() {
    let golden = golden();
    let texts = texts(&golden);
    let (f32, int8) = (open(Precision::F32), open(Precision::Int8));
    assert!(f32.is_trained_for_embeddings());
    let (f32, int8) = (f32.embed_batch(&texts).unwrap(), int8.embed_batch(&texts).unwrap());
    for (i, (f32, int8)) in f32.iter().zip(&int8).enumerate() {
        let expected = golden["vectors"][i].as_array().unwrap();
        assert_eq!((f32.embedding.len(), expected.len()), (384, 384));
        for (found, expected) in f32.embedding.iter().zip(expected) {
            let expected = expected.as_f64().unwrap();
            assert!((f64::from(*found) - expected).abs() <= TOLERANCE, "text {i}: {found}, {expected}");
        }
        assert!(f32.cosine(int8) >= MIN_INT8_COSINE, "text {i}: {}", f32.cosine(int8));
        // The last text has more than the 256 tokens that the model was trained with.
        assert_eq!(f32.truncated, i + 1 == texts.len(), "text {i}");
    }
}

#[test]
fn texts_that_mean_the_same_are_nearer_than_others() {
    let embedder = Embedder::open("embed").unwrap();
    let groups: Vec<Vec<Embedding>> = [
        ["How old are you?", "What is your age?"],
        ["The parcel arrived two days late.", "The package came with a delay of two days."],
        ["How do I reset my password?", "I forgot my login and need a new one."],
        ["Interest rates went up again.", "The central bank has raised its rate once more."],
        ["The cat is asleep on the sofa.", "A kitten naps on the couch."],
        ["Boil the potatoes for twenty minutes.", "Cook the potatoes in hot water for a third of an hour."],
    ]
    .iter()
    .map(|pair| embedder.embed_batch(pair).unwrap())
    .collect();
    for (i, group) in groups.iter().enumerate() {
        let same = group[0].cosine(&group[1]);
        for (j, other) in groups.iter().enumerate().filter(|(j, _)| *j != i) {
            for text in other {
                let different = group[0].cosine(text).max(group[1].cosine(text));
                assert!(same > different + 0.1, "groups {i} and {j}: {same} and {different}");
            }
        }
    }
}
