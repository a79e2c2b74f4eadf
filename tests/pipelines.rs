//! Compares pipelines with those of Hugging Face `transformers` (`eval/reference/make_pipeline_goldens.py`).

use std::path::PathBuf;

use mobilebert::{
    Classification, ClassifyOptions, EmbedOptions, Embedder, FillMask, FunctionToApply, Pooling, TagOptions,
    TextClassification, TokenClassification,
};
use serde_json::Value;

/// The tolerance for f32 sums in another order.
const TOLERANCE: f64 = 1e-5;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Returns every recorded text of a task, with the model folder.
fn cases(task: &str) -> Vec<(String, Value)> {
    let goldens = std::fs::read_to_string(golden().join("pipelines.json")).unwrap();
    let goldens: Value = serde_json::from_str(&goldens).unwrap();
    let of_folder = |(name, texts): (&String, &Value)| {
        let folder = golden().join("checkpoints").join(name).to_str().unwrap().to_owned();
        texts.as_array().unwrap().iter().map(move |text| (folder.clone(), text.clone())).collect::<Vec<_>>()
    };
    let cases: Vec<_> = goldens[task].as_object().unwrap().iter().flat_map(of_folder).collect();
    assert!(!cases.is_empty());
    cases
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

fn is_close(found: f32, expected: &Value) -> bool {
    (f64::from(found) - expected.as_f64().unwrap()).abs() <= TOLERANCE
}

#[test]
fn entities_of_every_aggregation_strategy() {
    let mut failures = Vec::new();
    for (folder, case) in cases("token-classification") {
        for (strategy, expected) in case["entities"].as_object().unwrap() {
            let options = TagOptions::with(|o| {
                o.aggregation_strategy = strategy.parse().unwrap();
                o.ignore_labels.clear();
            });
            let tagger = TokenClassification::open(&folder).unwrap();
            let found = tagger.tag_with(text(&case, "text"), &options).unwrap();
            let expected = expected.as_array().unwrap();
            let same = |(found, expected): (&mobilebert::Entity, &Value)| {
                found.label == text(expected, "label")
                    && found.start as u64 == expected["start"]
                    && found.end as u64 == expected["end"]
                    && is_close(found.score, &expected["score"])
            };
            if found.len() != expected.len() || !found.iter().zip(expected).all(same) {
                let expected = Value::from(expected.clone());
                failures.push(format!("{strategy}, {}:\n  {found:?}\n  {expected}", case["text"]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_best_words_for_each_mask() {
    for (folder, case) in cases("fill-mask") {
        let found = FillMask::open(&folder).unwrap().fill(text(&case, "text")).unwrap();
        let expected = case["fills"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let expected = expected.as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(u64::from(found.token), expected["token"], "{}", case["text"]);
                assert!(is_close(found.score, &expected["score"]), "{}: {found:?}, {expected}", case["text"]);
            }
        }
    }
}

#[test]
fn scores_of_texts_and_pairs() {
    for (folder, case) in cases("text-classification") {
        for (function, expected) in case["labels"].as_object().unwrap() {
            let function: FunctionToApply = function.parse().unwrap();
            let options = ClassifyOptions::with(|o| (o.top_k, o.function_to_apply) = (usize::MAX, function));
            let classifier = TextClassification::open(&folder).unwrap();
            let Classification { labels: found, .. } = match case["text_pair"].as_str() {
                Some(pair) => classifier.classify_pair_with(text(&case, "text"), pair, &options).unwrap(),
                None => classifier.classify_with(text(&case, "text"), &options).unwrap(),
            };
            let expected = expected.as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.label, text(expected, "label"), "{function:?}, {case}");
                assert!(is_close(found.score, &expected["score"]), "{function:?}: {found:?}, {expected}");
            }
        }
    }
}

#[test]
fn embeddings_are_hidden_states() {
    for (folder, case) in cases("embedding") {
        for (key, pooling) in [("mean", Pooling::Mean), ("cls", Pooling::Cls)] {
            let options = EmbedOptions::with(|o| (o.pooling, o.normalize) = (Some(pooling), Some(false)));
            let embedder = Embedder::open(&folder).unwrap();
            let found = embedder.embed_with(text(&case, "text"), &options).unwrap().embedding;
            let expected = case[key].as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            let all_close = found.iter().zip(expected).all(|(&found, expected)| is_close(found, expected));
            assert!(all_close, "{folder}, {key}, {}:\n  {found:?}\n  {expected:?}", case["text"]);
        }
    }
}
