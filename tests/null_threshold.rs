//! Tests the threshold above which "the context does not say" comes before all answers.

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::{AnswerOptions, ErrorKind, ModelConfig, QuestionAnswering};

const QUESTION: &str = "who wrote it?";
const CONTEXT: &str = "anna wrote the book in paris. the king was good.";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32")
}

fn options(threshold: Option<f32>) -> AnswerOptions {
    AnswerOptions::with(|o| {
        (o.handle_impossible_answer, o.null_threshold, o.top_k) = (true, threshold, 5);
        o.merge_equal_texts = false;
    })
}

/// Returns the place of the empty answer among the best five, and all answers.
fn answers(qa: &QuestionAnswering, threshold: Option<f32>) -> (Option<usize>, Vec<mobilebert::Answer>) {
    let found = qa.answers_with(QUESTION, CONTEXT, &options(threshold)).unwrap();
    (found.iter().position(|answer| answer.answer.is_empty()), found)
}

#[test]
fn null_odds_above_the_threshold_are_the_empty_answer() {
    let qa = QuestionAnswering::open(golden()).unwrap();
    let context = qa.prepare(CONTEXT).unwrap();
    let odds = qa.rank(&[(QUESTION, &context)]).unwrap()[0].null_odds();
    assert_eq!(answers(&qa, Some(odds - 1e-3)).0, Some(0));
    assert_ne!(answers(&qa, Some(odds + 1e-3)).0, Some(0));
    assert_eq!(answers(&qa, Some(f32::NEG_INFINITY)).0, Some(0));
    assert_eq!(answers(&qa, Some(f32::INFINITY)).0, None, "five real answers come first");

    // The threshold moves the empty answer, and changes neither the others nor any score.
    let (_, by_default) = answers(&qa, None);
    for threshold in [-1.0, 0.0, 0.5] {
        let (_, moved) = answers(&qa, Some(threshold));
        let split = |found: &[mobilebert::Answer]| -> (Vec<_>, Vec<_>) {
            found.iter().cloned().partition(|answer| answer.answer.is_empty())
        };
        let ((a_null, a), (b_null, b)) = (split(&by_default), split(&moved));
        let n = a.len().min(b.len());
        assert!(n >= 4 && a[..n] == b[..n], "{a:?} and {b:?}");
        assert!(a_null.iter().zip(&b_null).all(|(a, b)| a == b), "{a_null:?} and {b_null:?}");
    }
    let error = qa.answers_with(QUESTION, CONTEXT, &options(Some(f32::NAN))).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Option { option: "null_threshold", .. }), "{error}");
}

#[test]
fn the_models_own_threshold_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("config.json");
    let original = fs::read_to_string(&path).unwrap();
    let with = |value: &str| original.replacen('{', &format!("{{\"null_threshold\": {value},"), 1);
    for (value, place) in [("-1000", Some(0)), ("1000.5", None)] {
        fs::write(&path, with(value)).unwrap();
        let qa = QuestionAnswering::open(folder.path()).unwrap();
        assert_eq!(answers(&qa, None).0, place, "{value}");
        assert_eq!(answers(&qa, Some(-1000.0)).0, Some(0), "the caller's wins");
        let config = qa.engine().config();
        assert_eq!(config.to_fields()["null_threshold"].to_string().parse(), value.parse::<f64>());
    }
    for value in ["\"3\"", "true", "1e39"] {
        let error = ModelConfig::from_json(&with(value)).unwrap_err().to_string();
        assert!(error.contains("null_threshold") && error.contains("a number"), "{error}");
    }
}
