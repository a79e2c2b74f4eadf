//! Tests that the models inside the program are found and used without any file.
#![cfg(feature = "embedded-models")]
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use mobilebert::{
    BUILT_IN, Embedder, ModelFiles, QuestionAnswering, TextClassification, TokenClassification,
};

#[test]
fn built_in_models_need_no_files() {
    // The checkout has folders of the same names, so the test runs in a folder where they cannot be found.
    let elsewhere = tempfile::tempdir().unwrap();
    std::env::set_current_dir(&elsewhere).unwrap();
    for name in BUILT_IN {
        assert!(matches!(ModelFiles::resolve(name).unwrap(), ModelFiles::Memory(_)), "{name}");
    }
    let answer =
        QuestionAnswering::open("qa").unwrap().answer("Who built it?", "It was built by Ada.").unwrap();
    assert_eq!((answer.answer.as_str(), answer.start, answer.end), ("Ada", 16, 19));
    let found = TextClassification::open("sentiment").unwrap().classify("a joy to watch").unwrap();
    assert_eq!(found.best().unwrap().label, "positive");
    let found = TokenClassification::open("ner").unwrap().tag("Ada Lovelace lived in London.").unwrap();
    let found: Vec<(&str, &str)> = found.iter().map(|e| (e.label.as_str(), e.word.as_str())).collect();
    assert_eq!(found, [("PER", "Ada Lovelace"), ("LOC", "London")]);
    let embedder = Embedder::open("embed").unwrap();
    assert!(embedder.is_trained_for_embeddings(), "the files of sentence-transformers are inside, too");
    assert!(embedder.embed(&"long ".repeat(300)).unwrap().truncated);
}
