//! Tests pipelines that many threads share for thousands of mixed requests: the results have the bits of one
//! thread, and no request leaves memory behind.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

#[path = "support/counting.rs"]
mod counting;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use counting::{HELD, resident};
use mobilebert::{
    AnswerOptions, ClassifyOptions, EmbedOptions, Embedder, EngineOptions, QuestionAnswering,
    TextClassification,
};

const THREADS: usize = 8;

/// The requests before memory is measured.
const WARM_UP: usize = 2_000;

/// What may be left of each request, which is less than a leak of 100 bytes.
const LEFT_OF_A_REQUEST: usize = 25;

/// What may be left of all requests together. The queues of a thread pool grow in steps, so that a pool needs
/// more requests until a small leak shows.
const LEFT: usize = 256 * 1024;
const LEFT_OF_A_POOL: usize = 1024 * 1024;

/// The memory of the process is counted in pages, and those that the allocator keeps for later come and go,
/// so that this much is let pass.
const PAGES: usize = 1 << 20;

struct Pipelines {
    qa: QuestionAnswering,
    classifier: TextClassification,
    embedder: Embedder,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

impl Pipelines {
    fn open(options: &EngineOptions) -> Self {
        let answers = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(24), Some(6)));
        let engine = || options.clone();
        Self {
            qa: QuestionAnswering::open_with(golden("mobilebert-f32"), engine(), answers).unwrap(),
            classifier: TextClassification::open_with(
                golden("bert-f32"),
                engine(),
                ClassifyOptions::default(),
            )
            .unwrap(),
            embedder: Embedder::open_with(golden("distilbert-f32"), engine(), EmbedOptions::default())
                .unwrap(),
        }
    }

    /// Returns the result of a request, also if it is an error, as a number. It stands for all bits, because
    /// floats are written so that they can be read back.
    fn ask(&self, request: usize) -> u64 {
        let text = text(request);
        let mut hash = DefaultHasher::new();
        match request % 4 {
            0 => format!("{:?}", self.qa.answer("who ?", &text)),
            1 => format!("{:?}", self.classifier.classify(&text)),
            2 => format!("{:?}", self.embedder.embed(&text)),
            _ => format!("{:?}", self.classifier.classify_batch(&[text.as_str(), "good film", "bad"])),
        }
        .hash(&mut hash);
        hash.finish()
    }
}

/// Returns a text of up to 40 words, of which one was not in any request before.
fn text(request: usize) -> String {
    const WORDS: [&str; 12] =
        ["anna", "works", "in", "paris", "and", "the", "king", "wrote", "a", "good", "book", "Émile"];
    let word = |i: usize| WORDS[(request * 7 + i * i * 5 + request / 11 * i) % WORDS.len()];
    let mut text: String = (0..request * 13 % 40).map(|i| format!("{} ", word(i))).collect();
    text += &format!("unheard{request}");
    text
}

fn check(options: &EngineOptions, requests: usize, left: usize) {
    let alone = Pipelines::open(&EngineOptions::new().on_caller());
    let expected: Vec<u64> = (0..WARM_UP + requests).map(|i| alone.ask(i)).collect();
    drop(alone);

    let shared = Pipelines::open(options);
    let (next, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = Barrier::new(THREADS + 1);
    let work_to = |end: usize| {
        loop {
            let request = next.fetch_add(1, Ordering::Relaxed);
            if request >= end {
                break;
            }
            wrong.fetch_add(usize::from(shared.ask(request) != expected[request]), Ordering::Relaxed);
        }
        barrier.wait();
        // Here the memory is measured, and the next request is set.
        barrier.wait();
    };
    let [before, after] = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                work_to(WARM_UP);
                work_to(WARM_UP + requests);
            });
        }
        [WARM_UP, WARM_UP + requests].map(|end| {
            barrier.wait();
            let memory = (HELD.load(Ordering::Relaxed), resident());
            next.store(end, Ordering::Relaxed);
            barrier.wait();
            memory
        })
    });
    assert_eq!(wrong.into_inner(), 0, "results differ from those of one thread");
    let (held, pages) = (after.0 as isize - before.0 as isize, after.1 as isize - before.1 as isize);
    eprintln!("{requests} requests leave {held} bytes of the allocator and {pages} bytes of pages");
    let most = (left + LEFT_OF_A_REQUEST * requests) as isize;
    assert!(held <= most, "{held} bytes are left of {requests} requests; expected at most {most}");
    let most = most + PAGES as isize;
    assert!(
        pages <= most,
        "the process grew by {pages} bytes in {requests} requests; expected at most {most}"
    );
}

/// The test is one function, so that no other test allocates beside it. `REQUESTS` chooses another number of
/// requests, such as 20,000.
#[test]
fn thousands_of_requests_have_the_same_bits_and_leave_no_memory() {
    let requests = std::env::var("REQUESTS").map_or(6_000, |text| text.parse().unwrap());
    check(&EngineOptions::new().on_caller(), requests, LEFT);
    check(&EngineOptions::new().threads(2), requests, LEFT_OF_A_POOL);
}
