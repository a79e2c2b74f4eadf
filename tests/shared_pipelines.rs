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

/// What may be left of all requests together, without what the engines keep. Nothing was left in any run. The
/// queues of a thread pool grow in steps, so a little is let pass. A leak of 16 bytes a request shows.
const LEFT: usize = 64 * 1024;

/// The memory of the process is counted in pages. The system's allocator keeps some for each thread, and how
/// many depends on how the threads happened to run: 0.1 to 0.8 MB more than before were seen. A request that
/// leaves one page behind shows.
const PAGES: usize = 4 << 20;

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

    /// Frees what the engines keep for their next passes. That grows whenever more passes than ever before run
    /// at the same time, and so depends on how the system happens to run the threads.
    fn trim(&self) {
        for engine in [self.qa.engine(), self.classifier.engine(), self.embedder.engine()] {
            engine.trim();
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

fn check(options: &EngineOptions, requests: usize) {
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
            shared.trim();
            let memory = (HELD.load(Ordering::Relaxed), resident());
            next.store(end, Ordering::Relaxed);
            barrier.wait();
            memory
        })
    });
    assert_eq!(wrong.into_inner(), 0, "results differ from those of one thread");
    let (held, pages) = (after.0 as isize - before.0 as isize, after.1 as isize - before.1 as isize);
    eprintln!("{requests} requests leave {held} bytes of the allocator and {pages} bytes of pages");
    assert!(held <= LEFT as isize, "{held} bytes are left of {requests} requests; expected at most {LEFT}");
    assert!(
        pages <= PAGES as isize,
        "the process grew by {pages} bytes in {requests} requests; expected at most {PAGES}"
    );
}

/// The test is one function, so that no other test allocates beside it. `REQUESTS` chooses another number of
/// requests, such as 20,000.
#[test]
fn thousands_of_requests_have_the_same_bits_and_leave_no_memory() {
    let requests = std::env::var("REQUESTS").map_or(6_000, |text| text.parse().unwrap());
    check(&EngineOptions::new().on_caller(), requests);
    check(&EngineOptions::new().threads(2), requests);
}
