//! Tests that the other sequences of a batch, the number of threads and the windows do not change an answer.

use std::sync::Arc;
use std::thread;

use mobilebert::{
    AnswerOptions, Batch, ClassifyOptions, EmbedOptions, Embedder, Engine, EngineOptions, Precision,
    QuestionAnswering, TextClassification,
};

const PRECISIONS: [Precision; 2] = [Precision::Int8, Precision::F32];

const TEXTS: [&str; 5] = [
    "a joy to watch",
    "The plot is thin, the jokes are old, and nothing about the ending makes up for two lost hours.",
    "meh",
    "Ein Film wie ein Gedicht – voller Wärme.",
    "It is 2 hours long and has 3 actors.",
];

const CONTEXT: &str = "The engine was built by Ada in London. It was tested by Grace in New York.";

/// Engines whose results must have the same bits: on the caller's thread, on a pool of one thread and on a
/// pool of two.
fn places(precision: Precision) -> [EngineOptions; 3] {
    let options = || EngineOptions::new().precision(precision);
    [options().on_caller(), options().threads(1), options().threads(2)]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn classifiers(precision: Precision) -> [TextClassification; 3] {
    places(precision)
        .map(|engine| TextClassification::open_with("sentiment", engine, ClassifyOptions::default()).unwrap())
}

/// Makes sequences of word ids from a formula. They have all lengths near the sixteen rows of a strip, and
/// some are long.
fn sequences() -> Vec<Vec<u32>> {
    let mut state = 1u32;
    let mut word = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1000 + (state >> 8) % 28_000
    };
    let lengths = (1..=18).chain([30, 31, 32, 33, 127, 128, 129, 200, 1, 1, 13]);
    lengths.map(|n| (0..n).map(|_| word()).collect()).collect()
}

/// Returns the logits of each sequence, from passes of at most this many tokens.
fn logits(engine: &Engine, sequences: &[Vec<u32>], tokens_per_pass: usize) -> Vec<Vec<u32>> {
    let mut logits = Vec::new();
    let mut batch = Batch::new();
    let mut flush = |batch: &mut Batch| {
        let output = engine.forward(batch).unwrap();
        logits.extend((0..batch.sequences()).map(|s| {
            let rows = batch.range(s);
            bits(&output.values()[rows.start * output.width()..rows.end * output.width()])
        }));
        batch.clear();
    };
    for ids in sequences {
        if batch.tokens() > 0 && batch.tokens() + ids.len() > tokens_per_pass {
            flush(&mut batch);
        }
        batch.push(ids, &vec![0; ids.len()]).unwrap();
    }
    flush(&mut batch);
    logits
}

/// Because the sequences of a pass do not change each other's answers, a server may put those of different
/// users into one pass.
#[test]
fn logits_have_the_same_bits_in_every_pass_on_any_threads() {
    let sequences = sequences();
    for precision in PRECISIONS {
        let [on_caller, one, two] = places(precision).map(|options| Engine::open("qa", options).unwrap());
        let alone = logits(&on_caller, &sequences, 0);
        let mut reversed = sequences.clone();
        reversed.reverse();
        let mut alone_reversed = alone.clone();
        alone_reversed.reverse();
        for (name, engine) in [("on the caller", &on_caller), ("one", &one), ("two", &two)] {
            for tokens in [64, 256, 2048] {
                let same = logits(engine, &sequences, tokens) == alone;
                assert!(same, "{precision}, {name}, {tokens} tokens a pass");
            }
            assert!(
                logits(engine, &reversed, 2048) == alone_reversed,
                "{precision}, {name}, other neighbours"
            );
        }
    }
}

#[test]
fn a_text_has_the_same_scores_alone_and_in_a_batch_on_any_threads() {
    for precision in PRECISIONS {
        let [on_caller, one, two] = classifiers(precision);
        let alone: Vec<_> = TEXTS.iter().map(|text| on_caller.classify(text).unwrap()).collect();
        for pipeline in [&on_caller, &one, &two] {
            assert_eq!(pipeline.classify_batch(&TEXTS).unwrap(), alone, "{precision}");
            for (text, expected) in TEXTS.iter().zip(&alone) {
                let found = pipeline.classify(text).unwrap();
                let scores = |c: &mobilebert::Classification| {
                    bits(&c.labels.iter().map(|label| label.score).collect::<Vec<_>>())
                };
                assert_eq!(scores(&found), scores(expected), "{precision}: {text}");
            }
        }
    }
}

#[test]
fn an_embedding_is_the_same_alone_and_in_a_batch() {
    for precision in PRECISIONS {
        let engine = EngineOptions::new().precision(precision);
        let embedder = Embedder::open_with("qa", engine, EmbedOptions::default()).unwrap();
        for (text, in_batch) in TEXTS.iter().zip(embedder.embed_batch(&TEXTS).unwrap()) {
            let alone = embedder.embed(text).unwrap();
            assert_eq!(bits(&alone.embedding), bits(&in_batch.embedding), "{precision}: {text}");
            let length = alone.embedding.iter().map(|x| x * x).sum::<f32>();
            assert!((length - 1.0).abs() <= 1e-5, "{text}: length {length}");
        }
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

/// The answer is in one of many windows, and scores are normalised over all of them.
#[test]
fn an_answer_is_found_wherever_it_stands_in_a_long_context() {
    let qa = QuestionAnswering::open("qa").unwrap();
    let options = AnswerOptions::with(|o| {
        o.top_k = 3;
        (o.max_seq_len, o.doc_stride) = (Some(64), Some(16));
    });
    let filler = "Trees grow slowly and rivers run to the sea. ";
    for before in [0, 3, 12] {
        let context = filler.repeat(before) + CONTEXT + " " + &filler.repeat(12 - before);
        let answers = qa.answers_with("Who built the engine?", &context, &options).unwrap();
        assert_eq!(answers[0].answer, "Ada", "after {before} sentences");
        assert_eq!(answers[0].start, filler.len() * before + 24);
        assert_eq!(answers.len(), 3);
        assert!(
            answers
                .windows(2)
                .all(|w| w[0].score >= w[1].score && (w[0].start, w[0].end) != (w[1].start, w[1].end))
        );
        assert!(answers.iter().all(|a| context[a.start..a.end] == a.answer));
        assert!(answers.iter().map(|a| a.score).sum::<f32>() <= 1.0 + 1e-6);
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
