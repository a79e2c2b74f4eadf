//! Tests progress and cancellation between passes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mobilebert::{
    AnswerOptions, ClassifyOptions, ErrorKind, Job as _, LongText, ModelOptions, PassProgress,
    QuestionAnswering, Result, RunControl, TextClassification,
};

const CONTEXT: &str = "anna works in paris and the king wrote a book at a good time of day ";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoints").join(name)
}

fn qa() -> QuestionAnswering {
    let options = AnswerOptions::with(|o| (o.max_seq_len, o.doc_stride) = (Some(16), Some(4)));
    QuestionAnswering::open_with(golden("mobilebert-f32"), ModelOptions::new(), options).unwrap()
}

/// Answers a question about a context of many windows, and lists the progress that `on_pass` saw.
fn answer(
    mut control: RunControl<'_>,
    mut on_pass: impl FnMut(PassProgress) -> ControlFlow<()>,
) -> (Result<Vec<mobilebert::Answer>>, Vec<PassProgress>, usize) {
    let qa = qa();
    let context = qa.prepare(CONTEXT.repeat(100)).unwrap();
    let job = qa.prepare_answer("who ?", &context, qa.options()).unwrap();
    let (mut seen, count) = (Vec::new(), job.count());
    let mut watch = |progress| {
        seen.push(progress);
        on_pass(progress)
    };
    let mut watched = RunControl::default();
    (watched.deadline, watched.cancel) = (control.deadline.take(), control.cancel.take());
    watched.on_pass = Some(&mut watch);
    let result = qa.model().run_one(job, &mut watched);
    (result, seen, count)
}

#[test]
fn progress_reaches_the_number_of_windows() {
    let (result, seen, count) = answer(RunControl::default(), |_| ControlFlow::Continue(()));
    let qa = qa();
    assert_eq!(result.unwrap(), qa.answers("who ?", &CONTEXT.repeat(100)).unwrap());
    // The passes are full: each has 32 windows of 16 tokens.
    assert_eq!(seen.len(), count.div_ceil(32));
    assert!(count > 100);
    for (i, progress) in seen.iter().enumerate() {
        assert_eq!(progress.passes, i + 1);
        assert_eq!(progress.sequences, (32 * (i + 1)).min(count));
        assert!(progress.tokens <= 512 * (i + 1) && progress.tokens > 512 * i);
    }
    assert_eq!(seen.last().unwrap().known_sequences, count);
}

#[test]
fn a_run_that_is_cancelled_before_it_begins_runs_no_pass() {
    let mut control = RunControl::default();
    control.cancel = Some(Arc::new(AtomicBool::new(true)));
    let (result, seen, _) = answer(control, |_| ControlFlow::Continue(()));
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Cancelled { done: 0 }));
    assert!(seen.is_empty());

    let mut control = RunControl::default();
    control.deadline = Some(Instant::now());
    let (result, seen, _) = answer(control, |_| ControlFlow::Continue(()));
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::DeadlineExceeded { done: 0 }));
    assert!(seen.is_empty());
}

#[test]
fn a_run_stops_before_the_next_pass() {
    let cancel = Arc::new(AtomicBool::new(false));
    let mut control = RunControl::default();
    control.cancel = Some(Arc::clone(&cancel));
    let (result, seen, _) = answer(control, |progress| {
        cancel.store(progress.passes == 2, Ordering::Relaxed);
        ControlFlow::Continue(())
    });
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Cancelled { done: 64 }));
    assert_eq!(seen.len(), 2);

    let (result, seen, _) = answer(RunControl::default(), |_| ControlFlow::Break(()));
    assert!(matches!(result.unwrap_err().kind(), ErrorKind::Cancelled { done: 32 }));
    assert_eq!(seen.len(), 1);

    let mut control = RunControl::default();
    let deadline = Instant::now() + Duration::from_millis(500);
    control.deadline = Some(deadline);
    let (result, seen, _) = answer(control, |_| {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        ControlFlow::Continue(())
    });
    let error = result.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { done: 32 }), "{error:?}");
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_stop_after_the_last_pass_comes_too_late() {
    let last = qa_passes();
    let (result, seen, _) = answer(RunControl::default(), |progress| {
        if progress.passes == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((result.unwrap().len(), seen.len()), (1, last));
}

fn qa_passes() -> usize {
    answer(RunControl::default(), |_| ControlFlow::Continue(())).1.len()
}

#[test]
fn results_delivered_before_a_stop_are_kept() {
    let classifier = TextClassification::open(golden("bert-f32")).unwrap();
    let options = ClassifyOptions::with(|o| o.long_text = LongText::WindowsMean);
    let text = "good film ".repeat(9);
    let jobs = (0..100).map(|_| classifier.prepare_classify(&text, &options));
    let mut results = Vec::new();
    let mut third = |progress: PassProgress| match progress.passes {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut third);
    let stopped = classifier.model().run_each(jobs, &mut control, |_, result| results.push(result));
    // A pass is filled by 25 texts of 20 tokens.
    assert!(matches!(stopped.unwrap_err().kind(), ErrorKind::Cancelled { done: 75 }));
    assert_eq!(results.len(), 75);
    let alone = classifier.classify_with(&text, &options).unwrap();
    assert!(results.iter().all(|result| result.as_ref().unwrap() == &alone));
}

#[test]
fn one_control_serves_several_runs() {
    let qa = qa();
    let context = qa.prepare(CONTEXT).unwrap();
    let mut passes = 0;
    let mut count = |_| {
        passes += 1;
        ControlFlow::Continue(())
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut count);
    for _ in 0..3 {
        let job = qa.prepare_answer("who ?", &context, qa.options()).unwrap();
        qa.model().run_one(job, &mut control).unwrap();
    }
    assert_eq!(passes, 3);
}
