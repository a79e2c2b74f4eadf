//! What is known is not computed again, and a call that is stopped stops.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, StringArray};
use mobilebert_sql_core::{Argument, Counters, Error, Evaluator, Function, Stop};

use crate::support::evaluator;

fn texts(range: std::ops::Range<usize>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(range.map(|i| format!("a joy number {i}"))))
}

#[test]
fn the_same_buffers_are_computed_once() {
    let evaluator = evaluator(Function::Tokens, "tiny").with_memory(0);
    let batches: Vec<ArrayRef> = (0..4).map(|i| texts(i * 10..i * 10 + 10)).collect();
    let mut first = Vec::new();
    for batch in &batches {
        first.push(evaluator.evaluate(&[Argument::Column(Arc::clone(batch))], 10).unwrap());
    }
    for (batch, expected) in batches.iter().zip(&first) {
        // Another array over the same buffers.
        let again = evaluator.evaluate(&[Argument::Column(batch.slice(0, 10))], 10).unwrap();
        assert_eq!(&again, expected);
    }
    let counts = evaluator.counts();
    assert_eq!((counts.calls, counts.rows, counts.computed), (8, 80, 40));
    // A part of the buffers is something else, and without memory for texts nothing of it is known.
    let part = evaluator.evaluate(&[Argument::Column(batches[0].slice(2, 3))], 3).unwrap();
    assert_eq!(&part, &first[0].slice(2, 3));
    assert_eq!(evaluator.counts().computed, 43);
}

/// A batch that is freed may leave its address to another one.
#[test]
fn an_address_that_is_used_again_is_not_taken_for_the_same_batch() {
    let evaluator = evaluator(Function::Tokens, "tiny").with_memory(0);
    for i in 0..200 {
        let words = "joy ".repeat(i + 1);
        let batch: ArrayRef = Arc::new(StringArray::from(vec![words.as_str()]));
        let found = evaluator.evaluate(&[Argument::Column(batch)], 1).unwrap();
        assert_eq!(crate::support::ints(&found), [Some(i as i32 + 1)]);
    }
}

/// A filter copies the rows that it keeps into new buffers.
#[test]
fn the_same_texts_in_other_buffers_are_computed_once() {
    let evaluator = evaluator(Function::Classify, "tiny");
    let all = texts(0..300);
    let found = evaluator.evaluate(&[Argument::Column(Arc::clone(&all))], 300).unwrap();
    assert_eq!(evaluator.counts().computed, 300);
    let kept: ArrayRef = texts(100..200);
    let again = evaluator.evaluate(&[Argument::Column(kept)], 100).unwrap();
    assert_eq!(evaluator.counts().computed, 300);
    assert_eq!(again.to_data(), found.slice(100, 100).to_data());
}

/// Batches are forgotten by their bytes, but for the last one of each thread.
#[test]
fn large_batches_are_forgotten() {
    const BATCH: usize = 4 << 20;
    let threads = std::thread::available_parallelism().unwrap().get();
    let evaluator = evaluator(Function::Tokens, "tiny").with_memory(0);
    let mut batches = Vec::new();
    for i in 0..threads + 20 {
        // Few texts that are read, in much memory: the others are NULL.
        let mut texts = arrow_array::builder::StringBuilder::with_capacity(2, BATCH);
        texts.append_value(format!("joy {i}"));
        texts.append_null();
        let batch: ArrayRef = Arc::new(texts.finish());
        batches.push(Arc::downgrade(&batch));
        evaluator.evaluate(&[Argument::Column(batch)], 2).unwrap();
    }
    let kept: Vec<bool> = batches.iter().map(|batch| batch.upgrade().is_some()).collect();
    let bytes = kept.iter().filter(|kept| **kept).count() * BATCH;
    assert!(bytes <= (64 << 20).max(threads * BATCH), "{bytes} bytes are kept");
    assert!(kept.ends_with(&vec![true; threads]), "the last ones are kept: {kept:?}");
    // A batch that is larger than all the memory is known as long as it is the last one.
    let huge: ArrayRef = {
        let mut texts = arrow_array::builder::StringBuilder::with_capacity(1, 80 << 20);
        texts.append_value("huge");
        Arc::new(texts.finish())
    };
    let before = evaluator.counts().computed;
    for _ in 0..2 {
        evaluator.evaluate(&[Argument::Column(Arc::clone(&huge))], 1).unwrap();
    }
    assert_eq!(evaluator.counts().computed - before, 1);
}

/// The memory for texts is bounded, and what was forgotten is computed again with the same result.
#[test]
fn texts_are_forgotten_when_there_is_no_room() {
    let evaluator = evaluator(Function::Tokens, "tiny").with_memory(20_000);
    let first = evaluator.evaluate(&[Argument::Column(texts(0..1000))], 1000).unwrap();
    // The last ones are still known.
    evaluator.evaluate(&[Argument::Column(texts(980..1000))], 20).unwrap();
    assert_eq!(evaluator.counts().computed, 1000);
    let again = evaluator.evaluate(&[Argument::Column(texts(0..900))], 900).unwrap();
    assert_eq!(&again, &first.slice(0, 900));
    assert_eq!(evaluator.counts().computed, 1900);
}

#[test]
fn counters_are_shared() {
    let counters = Counters::new();
    for _ in 0..2 {
        let evaluator = evaluator(Function::Tokens, "tiny").with_counters(counters.clone());
        evaluator.evaluate(&[Argument::Column(texts(0..5))], 5).unwrap();
    }
    let counts = counters.get();
    assert_eq!(counts.to_string(), "calls=2, rows=10, computed=10, failed=0");
    assert_eq!((counts - counts).to_string(), "calls=0, rows=0, computed=0, failed=0");
}

/// Several threads share a model, each on its own batches.
#[test]
fn threads_share_an_evaluator() {
    let evaluator = evaluator(Function::Classify, "tiny");
    let expected = evaluator.evaluate(&[Argument::Column(texts(0..64))], 64).unwrap();
    let fresh = crate::support::evaluator(Function::Classify, "tiny");
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (fresh, expected) = (&fresh, &expected);
            scope.spawn(move || {
                let (start, length) = (part * 16, 16);
                let batch = texts(start..start + length);
                let found = fresh.evaluate(&[Argument::Column(batch)], length).unwrap();
                assert_eq!(found.to_data(), expected.slice(start, length).to_data());
            });
        }
    });
    assert_eq!(fresh.counts().computed, 64);
}

/// Minutes of work, unless it is stopped.
const MANY: usize = 50_000;

/// Runs a call on many texts, calls `then` once the first of them are computed, and returns how the call ended.
fn interrupted(evaluator: &Evaluator, then: impl FnOnce()) -> Result<ArrayRef, Error> {
    let many = texts(0..MANY);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| evaluator.evaluate(&[Argument::Column(many)], MANY));
        while evaluator.counts().computed == 0 {
            assert!(begin.elapsed() < Duration::from_secs(300), "the first pass takes forever");
            std::thread::sleep(Duration::from_millis(1));
        }
        then();
        running.join().unwrap()
    })
}

#[test]
fn a_call_that_is_stopped_ends_between_two_passes() {
    let stop = Stop::new();
    let evaluator = evaluator(Function::Classify, "sentiment").with_stop(stop.clone());
    let ended = interrupted(&evaluator, || stop.stop());
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(evaluator.counts().computed < 5_000, "{}", evaluator.counts());
    stop.renew();
    assert!(evaluator.evaluate(&[Argument::Column(texts(0..1))], 1).is_ok());
}

/// A statement that follows a stopped one does not set it going again.
#[test]
fn a_call_that_was_stopped_stays_stopped() {
    let stop = Stop::new();
    let evaluator = evaluator(Function::Classify, "sentiment").with_stop(stop.clone());
    let ended = interrupted(&evaluator, || {
        stop.stop();
        stop.renew();
    });
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
}

#[test]
fn counting_tokens_stops_too() {
    let stop = Stop::new();
    stop.stop();
    let evaluator = evaluator(Function::Tokens, "tiny").with_stop(stop);
    let stopped = evaluator.evaluate(&[Argument::Column(texts(0..10))], 10);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    // What needs no model is not stopped.
    let nulls: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 3]));
    assert!(evaluator.evaluate(&[Argument::Column(nulls)], 3).is_ok());
}
