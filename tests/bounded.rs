//! Bounds the memory that long contexts and shared models need.

#![allow(unsafe_code)]

#[path = "support/counting.rs"]
mod counting;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

#[cfg(target_os = "linux")]
use counting::resident;
use counting::{HELD, MOST};
use mobilebert::{
    AnswerOptions, EmbedOptions, Embedder, EngineOptions, Job as _, Model, ModelOptions, QuestionAnswering,
    RunControl, TagOptions, TokenClassification,
};

/// Lets only one test count at a time.
static COUNTS: Mutex<()> = Mutex::new(());

#[cfg(target_os = "linux")]
#[test]
fn an_embedder_over_a_loaded_model_has_no_weights_of_its_own() {
    let _alone = COUNTS.lock().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/qa");
    let model = Model::open(&folder, ModelOptions::new()).unwrap();
    let loaded = resident();
    let embedder = Embedder::from_parts(model.clone(), EmbedOptions::default()).unwrap();
    let qa = QuestionAnswering::from_parts(model, AnswerOptions::default()).unwrap();
    let shared = resident();
    let second = Embedder::open(&folder).unwrap();
    let (of_two, of_another) = (shared.saturating_sub(loaded), resident().saturating_sub(shared));
    assert!(of_another > 15_000_000, "another model is seen: {of_another} bytes");
    assert!(of_two < 3_000_000, "{of_two} bytes for two pipelines over one model");
    drop((embedder, qa, second));
}

#[test]
fn a_search_needs_no_more_memory_for_more_windows() {
    let _alone = COUNTS.lock().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints/mobilebert-f32");
    let options = AnswerOptions::with(|o| {
        o.top_k = 3;
        (o.max_seq_len, o.doc_stride) = (Some(16), Some(4));
    });
    let qa = QuestionAnswering::open_with(folder, EngineOptions::new().threads(1), options).unwrap();
    // Returns the number of windows, and the bytes that the run needs in addition to those of the job.
    let run = |words: usize| {
        let context = qa.prepare("anna works in paris and the king wrote a book ".repeat(words)).unwrap();
        let job = qa.prepare_answer("who ?", &context, qa.options()).unwrap();
        let windows = job.count();
        let before = HELD.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        qa.model().run_one(job, &mut RunControl::default()).unwrap();
        (windows, MOST.load(Ordering::Relaxed) - before)
    };
    // This many repetitions fill the places that are kept of each text.
    run(100);
    let (few, some) = run(2000);
    let (many, most) = run(4000);
    assert!(few > 2500 && many > few * 19 / 10, "{few} and {many} windows");
    assert!(some < 4_000_000, "{some} bytes");
    assert!(most <= some + some / 20, "{some} bytes for {few} windows, {most} for {many}");
}

/// The tokens of a text of 1.2 MB take 6 MB, and scores for each of them 20 MB.
#[test]
fn long_texts_are_read_without_all_their_tokens_in_memory() {
    let _alone = COUNTS.lock().unwrap();
    let checkpoints = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints");
    let engine = || EngineOptions::new().threads(1);
    let options = TagOptions::with(|o| {
        o.ignore_labels = ["O", "PER", "LOC"].map(str::to_owned).into();
    });
    let tagger = TokenClassification::open_with(checkpoints.join("mobilebert-ner-f32"), engine(), options);
    let qa = QuestionAnswering::open_with(
        checkpoints.join("mobilebert-f32"),
        engine(),
        AnswerOptions::with(|o| o.merge_equal_texts = false),
    );
    let (tagger, qa) = (tagger.unwrap(), qa.unwrap());
    // The first texts fill what the tokenizer keeps of words, and the memory of a pass.
    let tag = |text: &str| assert!(tagger.tag(text).unwrap().is_empty());
    let answer = |text: &str| assert!(!qa.answer("who ?", text).unwrap().answer.is_empty());
    let sentence = "anna works in paris and the king wrote a book ";
    for read in [&tag as &dyn Fn(&str), &answer] {
        read(&sentence.repeat(100));
        let text = sentence.repeat(1_200_000 / sentence.len());
        let before = HELD.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        read(&text);
        let most = MOST.load(Ordering::Relaxed) - before;
        assert!(most < text.len() + 3_500_000, "{most} bytes for a text of {}", text.len());
    }
}
