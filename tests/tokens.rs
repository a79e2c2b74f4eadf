//! Tests that tokens, segments and offsets equal those of `transformers` on texts that are easy to get wrong
//! (`tests/golden/tokens`, made by `eval/reference/make_token_goldens.py`).

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::path::{Path, PathBuf};

use mobilebert::{Tokenizer, TokenizerFiles, Window, WindowOptions};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    text: String,
    pair: Option<String>,
    ids: Vec<u32>,
    tokens: Vec<String>,
    type_ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn tokenizer(vocab: &str, options: &serde_json::Map<String, serde_json::Value>) -> Tokenizer {
    let vocab = std::fs::read(root().join(vocab)).unwrap();
    let config = serde_json::to_vec(options).unwrap();
    let files = TokenizerFiles::new("golden").vocab("vocab.txt", vocab).tokenizer_config("config", config);
    Tokenizer::from_files(&files).unwrap()
}

/// Compares every line of a golden file and reports all that differ.
fn check(file: &str, make: impl Fn(&Golden) -> Tokenizer) {
    let lines = std::fs::read_to_string(root().join("tests/golden/tokens").join(file)).unwrap();
    let mut failures = Vec::new();
    let mut last = None;
    let mut count = 0;
    for (number, line) in lines.lines().enumerate() {
        let golden: Golden = serde_json::from_str(line).unwrap();
        if last.as_ref().is_none_or(|(options, _)| *options != golden.options) {
            last = Some((golden.options.clone(), make(&golden)));
        }
        let tokenizer = &last.as_ref().unwrap().1;
        let encoding = match &golden.pair {
            Some(pair) => tokenizer.encode_pair(&golden.text, pair).unwrap(),
            None => tokenizer.encode(&golden.text).unwrap(),
        };
        let offsets: Vec<_> = encoding.spans().iter().map(|s| (s.start, s.end)).collect();
        let tokens: Vec<_> = encoding.tokens().collect();
        if encoding.ids() != golden.ids
            || tokens != golden.tokens
            || encoding.type_ids() != golden.type_ids
            || offsets != golden.offsets
        {
            failures.push(format!(
                "{file}:{}: {:?} {:?}\n  expected {:?} {:?} {:?}\n  found    {tokens:?} {:?} {offsets:?}",
                number + 1,
                golden.text,
                golden.pair,
                golden.tokens,
                golden.type_ids,
                golden.offsets,
                encoding.type_ids(),
            ));
        }
        count += 1;
    }
    assert!(count > 0, "{file} is empty");
    assert!(failures.is_empty(), "{} of {count} lines differ:\n{}", failures.len(), failures.join("\n"));
}

const UNCASED: &str = "vocab/bert-base-uncased.txt";

#[test]
fn uncased() {
    check("uncased.jsonl", |golden| tokenizer(UNCASED, &golden.options));
}

#[test]
fn cased() {
    let options = serde_json::json!({"do_lower_case": false});
    let options = options.as_object().unwrap();
    check("cased.jsonl", |_| tokenizer("tests/golden/tokens/cased-vocab.txt", options));
}

#[test]
fn options() {
    check("uncased-options.jsonl", |golden| tokenizer(UNCASED, &golden.options));
}

#[test]
fn special_tokens_as_plain_text() {
    check("uncased-plain-specials.jsonl", |golden| {
        tokenizer(UNCASED, &golden.options).special_tokens_in_text(false)
    });
}

#[derive(Deserialize)]
struct GoldenWindows {
    text: String,
    question: Option<String>,
    second: Option<String>,
    max_seq_len: usize,
    #[serde(default)]
    doc_stride: usize,
    #[serde(default)]
    windows: Vec<GoldenWindow>,
    /// The ids of `text` and `second`, truncated instead of cut into windows.
    truncated: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct GoldenWindow {
    ids: Vec<u32>,
    offsets: Vec<(usize, usize)>,
}

#[test]
fn windows() {
    let tokenizer = tokenizer(UNCASED, &serde_json::Map::new());
    let lines = std::fs::read_to_string(root().join("tests/golden/tokens/uncased-windows.jsonl")).unwrap();
    let mut failures = Vec::new();
    for (number, line) in lines.lines().enumerate() {
        let golden: GoldenWindows = serde_json::from_str(line).unwrap();
        let text = tokenizer.tokenize(&golden.text).unwrap();
        let second =
            golden.question.as_ref().or(golden.second.as_ref()).map(|t| tokenizer.tokenize(t).unwrap());
        let (found, expected): (Vec<_>, Vec<_>) = if let Some(expected) = golden.truncated {
            let (encoding, truncated) = text.encode_truncated(second.as_ref(), golden.max_seq_len).unwrap();
            assert_eq!(truncated, encoding.len() < text.len() + second.as_ref().map_or(2, |s| s.len() + 3));
            (vec![(encoding.ids().to_vec(), Vec::new())], vec![(expected, Vec::new())])
        } else {
            let options = WindowOptions::new(golden.max_seq_len).doc_stride(golden.doc_stride);
            let windows = match &second {
                Some(question) => text.windows_with_question(question, &options).unwrap(),
                None => text.windows(&options).unwrap(),
            };
            let offsets = |w: &Window| w.encoding().spans().iter().map(|s| (s.start, s.end)).collect();
            (
                windows.map(|w| (w.ids().to_vec(), offsets(&w))).collect(),
                golden.windows.into_iter().map(|w| (w.ids, w.offsets)).collect(),
            )
        };
        if found != expected {
            failures.push(format!("line {}: expected {expected:?}\n  found {found:?}", number + 1));
        }
    }
    assert!(failures.is_empty(), "{} lines differ:\n{}", failures.len(), failures.join("\n"));
}
