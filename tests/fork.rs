//! Tests that the child of a process that has used an engine still returns answers, with the same bits.

#![cfg(unix)]
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Engine, EngineOptions, Head, ModelConfig, Precision, QuestionAnswering};

const CONFIG: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 2, "vocab_size": 60}"#;

/// A child that takes longer than this counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

fn engine(options: EngineOptions) -> Engine {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let graph = model::build(&config, Head::QuestionAnswering);
    let weights = Synthetic::new(&graph);
    Engine::from_weights(config, graph, &weights, options.precision(Precision::Int8)).unwrap()
}

/// Returns the logits of a batch that is large enough for several threads.
fn logits(engine: &Engine) -> Vec<u32> {
    let ids: Vec<u32> = (0..300).map(|i| i % 60).collect();
    let output = engine.forward(&Batch::single(&ids, &[0; 300]).unwrap()).unwrap();
    output.values().iter().map(|x| x.to_bits()).collect()
}

/// Runs `work` in a forked child. It is an error if `work` does not return `true` there. A child that hangs
/// is killed.
fn in_child(work: impl FnOnce() -> bool) -> Result<(), String> {
    // SAFETY: the child runs `work` and ends with `_exit`, so it neither returns to the test harness nor runs
    // the exit handlers of the parent. The C library keeps its allocator usable in the child of a process
    // with several threads.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        // A thread of the parent may have locked stderr, so the child must not print.
        std::panic::set_hook(Box::new(|_| {}));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: `_exit` only ends this process.
        unsafe { libc::_exit(done.map_or(3, |same| if same { 0 } else { 2 })) };
    }
    let start = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: `child` is a child of this process, and `status` outlives the call.
        match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
            0 if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            0 => {
                // SAFETY: `child` has not been waited for, so its process id is still valid.
                unsafe { libc::kill(child, libc::SIGKILL) };
                // SAFETY: as above.
                unsafe { libc::waitpid(child, &mut status, 0) };
                return Err("hangs".to_owned());
            }
            _ if libc::WIFEXITED(status) => match libc::WEXITSTATUS(status) {
                0 => return Ok(()),
                2 => return Err("has other results".to_owned()),
                code => return Err(format!("panics ({code})")),
            },
            _ => return Err(format!("ends with {status:#x}")),
        }
    }
}

/// All cases are in one test, so that no threads of other tests run when it forks.
#[test]
fn a_forked_child_answers() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let cases = [
        ("on the caller", EngineOptions::new().on_caller()),
        ("one thread", EngineOptions::new().threads(1)),
        ("two threads", EngineOptions::new().threads(2)),
        ("the caller's pool", EngineOptions::new().pool(pool)),
        ("the default", EngineOptions::new()),
    ];
    for (name, options) in &cases {
        let of_parent = engine(options.clone());
        let expected = logits(&of_parent);
        let same = || logits(&of_parent) == expected && logits(&engine(options.clone())) == expected;
        assert!(same(), "{name}");
        let in_grandchild = || same() && in_child(same).is_ok();
        assert_eq!(in_child(in_grandchild), Ok(()), "{name}: the child");
        assert!(same(), "{name}: the parent, later");
        // The child can drop the engine and its pool.
        let dropped = move || {
            drop(of_parent);
            true
        };
        assert_eq!(in_child(dropped), Ok(()), "{name}: the child drops the engine");
    }
    a_child_has_threads_of_its_own();
    while_others_run_passes(&cases);
    pipelines();
}

/// An engine that a child loads after the fork uses its own pool.
fn a_child_has_threads_of_its_own() {
    let threads = || engine(EngineOptions::new().threads(2)).threads();
    assert_eq!(threads(), 2);
    let of_parent = engine(EngineOptions::new().threads(2));
    assert_eq!(in_child(|| threads() == 2 && of_parent.threads() == 1), Ok(()));
}

/// Forks while other threads run passes and hold their locks.
fn while_others_run_passes(cases: &[(&str, EngineOptions)]) {
    for (name, options) in cases {
        let engine = engine(options.clone());
        let expected = logits(&engine);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        engine.forward(&Batch::single(&[1], &[0]).unwrap()).unwrap();
                    }
                });
            }
            let forks = (0..20).map(|_| in_child(|| logits(&engine) == expected));
            let failures: Vec<_> = forks.filter(Result::is_err).collect();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(failures, [], "{name}");
        });
    }
}

fn pipelines() {
    let answer = |qa: &QuestionAnswering| qa.answer("Who built it?", "It was built by Ada.").unwrap();
    let of_parent = QuestionAnswering::open("qa").unwrap();
    let expected = answer(&of_parent);
    assert_eq!(expected.answer, "Ada");
    let same =
        || answer(&of_parent) == expected && answer(&QuestionAnswering::open("qa").unwrap()) == expected;
    assert_eq!(in_child(same), Ok(()), "a pipeline");
}
