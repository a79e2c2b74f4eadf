//! What must not change an answer: its neighbours in a batch, other threads, other windows.

use std::sync::Arc;
use std::thread;

use mobilebert::{
    Embedder, EngineOptions, QuestionAnswering, QuestionAnsweringOptions, TextClassification,
    TextClassificationOptions,
};

/// Sums of a matrix product may be taken in another order for another number of rows.
const TOLERANCE: f32 = 1e-4;

const TEXTS: [&str; 5] = [
    "a joy to watch",
    "The plot is thin, the jokes are old, and nothing about the ending makes up for two lost hours.",
    "meh",
    "Ein Film wie ein Gedicht – voller Wärme.",
    "It is 2 hours long and has 3 actors.",
];

const CONTEXT: &str = "The engine was built by Ada in London. It was tested by Grace in New York.";

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= TOLERANCE
}

#[test]
fn a_text_has_the_same_label_alone_and_in_a_batch() {
    let pipeline = TextClassification::open("sentiment").unwrap();
    let batch = pipeline.classify_batch(&TEXTS).unwrap();
    assert_eq!(batch.len(), TEXTS.len());
    for (text, in_batch) in TEXTS.iter().zip(&batch) {
        let alone = pipeline.classify(text).unwrap();
        let (a, b) = (alone.best().unwrap(), in_batch.best().unwrap());
        assert_eq!(a.label, b.label, "{text}");
        assert!(close(a.score, b.score), "{text}: {} and {}", a.score, b.score);
    }
}

#[test]
fn an_embedding_is_the_same_alone_and_in_a_batch() {
    let embedder = Embedder::open("qa").unwrap();
    for (text, in_batch) in TEXTS.iter().zip(embedder.embed_batch(&TEXTS).unwrap()) {
        let alone = embedder.embed(text).unwrap();
        assert!(alone.embedding.iter().zip(&in_batch.embedding).all(|(a, b)| close(*a, *b)), "{text}");
        let length = alone.embedding.iter().map(|x| x * x).sum::<f32>();
        assert!(close(length, 1.0), "{text}: length {length}");
    }
}

#[test]
fn one_and_two_threads_give_the_same_scores() {
    let open = |threads| {
        TextClassificationOptions::new()
            .engine(EngineOptions::new().threads(threads))
            .open("sentiment")
            .unwrap()
    };
    let (one, two) = (open(1), open(2));
    for text in TEXTS {
        let (a, b) = (one.classify(text).unwrap(), two.classify(text).unwrap());
        assert_eq!(a.best().unwrap().label, b.best().unwrap().label);
        assert!(close(a.best().unwrap().score, b.best().unwrap().score), "{text}");
    }
}

#[test]
fn one_pipeline_serves_many_threads() {
    let qa = Arc::new(QuestionAnswering::open("qa").unwrap());
    let expected = qa.answer("Who built the engine?", CONTEXT).unwrap();
    assert_eq!(expected.answer, "Ada");
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let qa = Arc::clone(&qa);
            thread::spawn(move || qa.answer("Who built the engine?", CONTEXT).unwrap())
        })
        .collect();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), expected);
    }
}

/// The answer stands in one of many windows; scores are normalised over all of them.
#[test]
fn an_answer_is_found_wherever_it_stands_in_a_long_context() {
    let qa = QuestionAnsweringOptions::new().top_k(3).max_seq_len(64).doc_stride(16).open("qa").unwrap();
    let filler = "Trees grow slowly and rivers run to the sea. ";
    for before in [0, 3, 12] {
        let context = filler.repeat(before) + CONTEXT + " " + &filler.repeat(12 - before);
        let answers = qa.answers("Who built the engine?", &context).unwrap();
        assert_eq!(answers[0].answer, "Ada", "after {before} sentences");
        assert_eq!(answers[0].start, filler.len() * before + 24);
        assert_eq!(answers.len(), 3);
        assert!(
            answers
                .windows(2)
                .all(|w| w[0].score >= w[1].score && (w[0].start, w[0].end) != (w[1].start, w[1].end))
        );
        assert!(answers.iter().all(|a| context[a.start..a.end] == a.answer));
        assert!(answers.iter().map(|a| a.score).sum::<f32>() <= 1.0 + TOLERANCE);
    }
}

#[test]
fn questions_on_one_context_are_answered_as_one_by_one() {
    let qa = QuestionAnswering::open("qa").unwrap();
    let questions = ["Who built the engine?", "Where was it tested?"];
    let many = qa.answer_many(&questions, CONTEXT).unwrap();
    let pairs: Vec<_> = questions.iter().map(|q| (*q, CONTEXT)).collect();
    assert_eq!(many, qa.answer_batch(&pairs).unwrap());
    for (question, answers) in questions.iter().zip(&many) {
        assert_eq!(answers[0], qa.answer(question, CONTEXT).unwrap());
    }
}
