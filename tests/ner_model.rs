//! Tests the built-in model `ner`: its tags are those of PyTorch, and int8 finds the same names.
//!
//! `golden/answers/ner.json` holds what the pipeline of `transformers` finds with the same weights, dequantised.

use mobilebert::{AggregationStrategy, EngineOptions, Entity, Precision, TagOptions, TokenClassification};
use serde_json::Value;

/// The tolerance for f32 sums in another order.
const TOLERANCE: f64 = 1e-5;

/// The largest difference between a score in int8 and the same one in f32, which is 0.042 in the golden texts.
const MAX_INT8_DIFFERENCE: f32 = 0.06;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/answers/ner.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn open(precision: Precision) -> TokenClassification {
    let engine = EngineOptions::new().precision(precision);
    TokenClassification::open_with("ner", engine, TagOptions::default()).unwrap()
}

/// The tag of every token.
fn every_token() -> TagOptions {
    TagOptions::with(|o| {
        o.aggregation_strategy = AggregationStrategy::None;
        o.ignore_labels.clear();
    })
}

fn check(text: &str, found: &[Entity], expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
    let bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    for (found, expected) in found.iter().zip(expected) {
        let place = |name: &str| bytes[expected[name].as_u64().unwrap() as usize];
        assert_eq!((found.start, found.end), (place("start"), place("end")), "{text}: {found:?}");
        assert_eq!(found.label, expected["label"].as_str().unwrap(), "{text}: {found:?}");
        let score = expected["score"].as_f64().unwrap();
        assert!((f64::from(found.score) - score).abs() <= TOLERANCE, "{text}: {found:?}, expected {score}");
    }
}

#[test]
fn tags_in_f32_are_those_of_transformers() {
    let golden = golden();
    let pipeline = open(Precision::F32);
    for case in golden["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        check(text, &pipeline.tag_with(text, &every_token()).unwrap(), &case["tokens"]);
        check(text, &pipeline.tag(text).unwrap(), &case["entities"]);
    }
}

#[test]
fn int8_gives_the_same_tags_with_nearly_the_same_scores() {
    let golden = golden();
    let texts: Vec<&str> =
        golden["texts"].as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap()).collect();
    let read = |precision| open(precision).tag_batch_with(&texts, &every_token()).unwrap();
    for (f32, int8) in read(Precision::F32).iter().zip(&read(Precision::Int8)) {
        for (f32, int8) in f32.iter().zip(int8) {
            assert_eq!((&f32.label, f32.start, f32.end), (&int8.label, int8.start, int8.end));
            assert!((f32.score - int8.score).abs() <= MAX_INT8_DIFFERENCE, "{f32:?} and {int8:?}");
        }
    }
}

#[test]
fn people_places_and_organisations_are_told_apart() {
    let pipeline = TokenClassification::open("ner").unwrap();
    let found = pipeline.tag("Ada Lovelace left London to work for the Bank of England.").unwrap();
    let found: Vec<(&str, &str)> = found.iter().map(|e| (e.label.as_str(), e.word.as_str())).collect();
    assert_eq!(found, [("PER", "Ada Lovelace"), ("LOC", "London"), ("ORG", "Bank of England")]);
    assert!(pipeline.tag("It rained for two days, and nobody came.").unwrap().is_empty());
}
