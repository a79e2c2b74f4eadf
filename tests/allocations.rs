//! Tests that, after a first pass over a batch of some size, further passes of the native backend allocate
//! nothing, on any number of threads.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use mobilebert::backend::native::{NativeBackend, NativeOptions};
use mobilebert::backend::{Precision, Request};
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Head, ModelConfig};

/// Counts the allocations of all threads of this process.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this function, which is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this function, which is that of the system's allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
