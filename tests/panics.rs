//! Tests that a panic of the caller's code inside a pass reaches the caller, and that everything works
//! afterwards.

#![cfg(not(target_family = "wasm"))]

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use mobilebert::backend::Observer;
use mobilebert::graph::Node;
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{
    AnswerOptions, Batch, Engine, EngineOptions, Head, ModelConfig, PassProgress, QuestionAnswering,
    RunControl, TextClassification,
};

const CONFIG: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 1, "vocab_size": 60}"#;

/// What takes longer counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `work` on another thread, and fails if it hangs or panics.
fn in_time(what: &str, work: impl FnOnce() + Send + 'static) {
    let (send, receive) = channel();
    let worker = thread::spawn(move || {
        work();
        send.send(()).unwrap();
    });
    let done = receive.recv_timeout(PATIENCE);
    assert!(done != Err(RecvTimeoutError::Timeout), "{what}: hangs");
    assert!(worker.join().is_ok(), "{what}: panics");
}

/// Panics without the message on stderr and its backtrace, which takes a quarter of a second.
fn panic_quietly(text: &'static str) {
    std::panic::resume_unwind(Box::new(text));
}

/// Returns the message of the panic that `work` ends with.
fn panic_of<R>(work: impl FnOnce() -> R) -> String {
    let panic: Box<dyn Any + Send> = match catch_unwind(AssertUnwindSafe(work)) {
        Err(panic) => panic,
        Ok(_) => return "no panic".to_owned(),
    };
    panic.downcast_ref::<&str>().map_or_else(|| "another panic".to_owned(), |text| (*text).to_owned())
}

/// An engine's threads, with their names.
fn places() -> [(&'static str, EngineOptions); 5] {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    [
        ("on the caller", EngineOptions::new().on_caller()),
        ("one thread", EngineOptions::new().threads(1)),
        ("three threads", EngineOptions::new().threads(3)),
        ("the caller's pool", EngineOptions::new().pool(pool)),
        ("the default", EngineOptions::new()),
    ]
}

fn engine(options: EngineOptions) -> Engine {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let graph = model::build(&config, Head::QuestionAnswering);
    let weights = Synthetic::new(&graph);
    Engine::from_weights(config, graph, &weights, options).unwrap()
}

/// A batch that is large enough for several threads.
fn batch() -> Batch {
    let ids: Vec<u32> = (0..100).map(|i| i % 60).collect();
    Batch::single(&ids, &[0; 100]).unwrap()
}

fn logits(engine: &Engine) -> Vec<u32> {
    engine.forward(&batch()).unwrap().values().iter().map(|x| x.to_bits()).collect()
}

/// Panics at the value of this number.
struct Panics(usize, AtomicUsize);

impl Observer for Panics {
    fn observe(&self, _: &Node, _: &[f32]) {
        if self.1.fetch_add(1, Ordering::Relaxed) == self.0 {
            panic_quietly("of the observer");
        }
    }
}

#[test]
fn an_observer_that_panics_reaches_the_caller() {
    for (place, options) in places() {
        in_time(place, move || {
            let engine = engine(options);
            let expected = logits(&engine);
            for value in [0, 9] {
                let observed = || engine.forward_observed(&batch(), &Panics(value, AtomicUsize::new(0)));
                assert_eq!(panic_of(observed), "of the observer", "{place}");
                assert_eq!(logits(&engine), expected, "{place}: after a panic at value {value}");
            }
            let calm = Panics(usize::MAX, AtomicUsize::new(0));
            let observed = engine.forward_observed(&batch(), &calm).unwrap();
            assert!(observed.values().iter().map(|x| x.to_bits()).eq(expected.iter().copied()));
        });
    }
}

#[test]
fn a_panic_of_one_caller_leaves_the_others_alone() {
    for (place, options) in places() {
        in_time(place, move || {
            let engine = engine(options);
            let expected = logits(&engine);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..4 {
                            let observed =
                                || engine.forward_observed(&batch(), &Panics(3, AtomicUsize::new(0)));
                            assert_eq!(panic_of(observed), "of the observer", "{place}");
                        }
                    });
                    scope.spawn(|| (0..4).for_each(|_| assert_eq!(logits(&engine), expected, "{place}")));
                }
            });
            assert_eq!(logits(&engine), expected, "{place}");
        });
    }
}

#[test]
fn callbacks_of_a_run_that_panic_reach_the_caller() {
    const CONTEXT: &str = "anna works in paris and the king wrote a book at a good time of day ";
    let golden =
        |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name);
    for (place, options) in places() {
        in_time(place, move || {
            let narrow = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(16), Some(4)));
            let qa = QuestionAnswering::open_with(golden("mobilebert-f32"), options.clone(), narrow).unwrap();
            let context = qa.prepare(CONTEXT.repeat(30)).unwrap();
            let expected = qa.answers_in("who ?", &context).unwrap();
            let mut after_two = |progress: PassProgress| {
                if progress.passes == 2 {
                    panic_quietly("of the progress");
                }
                ControlFlow::Continue(())
            };
            let mut control = RunControl::default();
            control.on_pass = Some(&mut after_two);
            for _ in 0..3 {
                let job = qa.prepare_answer("who ?", &context, qa.options()).unwrap();
                assert_eq!(panic_of(|| qa.model().run_one(job, &mut control)), "of the progress", "{place}");
                // The context was in use when the run ended.
                assert_eq!(qa.answers_in("who ?", &context).unwrap(), expected, "{place}");
            }

            let classifier =
                TextClassification::open_with(golden("bert-f32"), options, Default::default()).unwrap();
            let alone = classifier.classify("good film").unwrap();
            let jobs = || (0..300).map(|_| classifier.prepare_classify("good film", classifier.options()));
            let run = |deliver: &dyn Fn(usize)| {
                classifier.model().run_each(jobs(), &mut RunControl::default(), |i, _| deliver(i))
            };
            assert_eq!(
                panic_of(|| run(&|i| if i == 100 {
                    panic_quietly("of the delivery")
                })),
                "of the delivery"
            );
            let broken = || jobs().inspect(|_| panic_quietly("of the jobs"));
            let broken = || classifier.model().run(broken(), &mut RunControl::default());
            assert_eq!(panic_of(broken), "of the jobs");
            assert!(run(&|_| ()).is_ok(), "{place}");
            assert_eq!(classifier.classify("good film").unwrap(), alone, "{place}");
        });
    }
}
