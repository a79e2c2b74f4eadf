//! Tests that, after a first pass over a batch of some size, further passes of the native backend allocate
//! nothing, on any number of threads.

#![allow(unsafe_code)]

#[path = "support/counting.rs"]
mod counting;

use std::sync::atomic::Ordering;

use counting::ALLOCATIONS;
use mobilebert::backend::native::{NativeBackend, NativeOptions};
use mobilebert::backend::{Precision, Request};
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Head, ModelConfig};

fn batch(lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    for &n in lengths {
        batch.push(&vec![7; n], &vec![0; n]).unwrap();
    }
    batch
}

#[test]
fn a_warm_pass_allocates_nothing() {
    let config =
        ModelConfig::from_json(r#"{"model_type": "mobilebert", "num_hidden_layers": 3, "vocab_size": 100}"#)
            .unwrap();
    let batches = [batch(&[384]), batch(&[128, 5, 64]), batch(&[16])];
    for head in [Head::QuestionAnswering, Head::SequenceClassification] {
        for precision in [Precision::Int8, Precision::Bf16, Precision::F32] {
            let graph = model::build(&config, head);
            let weights = Synthetic::new(&graph);
            let options = NativeOptions::new().precision(precision);
            let backend = NativeBackend::load(graph, &weights, options).unwrap();
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut output = vec![0.0; 1000];
                let mut pass = |batch: &Batch| {
                    pool.install(|| {
                        let before = ALLOCATIONS.load(Ordering::Relaxed);
                        backend.run_into(&Request::new(batch), &mut output).unwrap();
                        ALLOCATIONS.load(Ordering::Relaxed) - before
                    })
                };
                for batch in batches.iter().chain(&batches) {
                    pass(batch);
                }
                for batch in &batches {
                    assert_eq!(pass(batch), 0, "{head:?} {precision:?} {threads} {}", batch.tokens());
                }
            }
        }
    }
}
