//! Progress and cancellation between forward passes.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::{ErrorKind, Result};

/// How far a run is. All numbers count from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PassProgress {
    /// Forward passes that were run.
    pub passes: usize,
    /// Sequences that the model has read.
    pub sequences: usize,
    /// Sequences of all jobs that were taken up so far. In a run of one job this is the number that
    /// `sequences` will reach; in longer runs it grows, because jobs are prepared one after another.
    pub known_sequences: usize,
    /// Tokens of the sequences that the model has read.
    pub tokens: usize,
}

/// A function that is called after each pass; `Break` stops the run before the next one.
pub type OnPass<'a> = &'a mut dyn FnMut(PassProgress) -> ControlFlow<()>;

/// When a run stops early, and who watches it. The default lets it run to its end.
///
/// A run looks at these between passes, so it stops within the time of one pass, which holds at most 512
/// tokens or one sequence. One control may serve several runs, one after another.
///
/// ```
/// use std::ops::ControlFlow;
/// use mobilebert::{ErrorKind, QuestionAnswering, RunControl};
///
/// # fn main() -> mobilebert::Result<()> {
/// let qa = QuestionAnswering::open("qa")?;
/// let context = qa.prepare("Trees grow slowly. ".repeat(500))?;
/// let job = qa.prepare_answer("What grows?", &context, qa.options())?;
/// let mut first_pass = |_| ControlFlow::Break(());
/// let mut control = RunControl::default();
/// control.on_pass = Some(&mut first_pass);
/// let error = qa.model().run_one(job, &mut control).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::Cancelled { done: 1 }));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[non_exhaustive]
pub struct RunControl<'a> {
    /// No pass begins later than this. On WebAssembly in a browser there is no clock, so leave it `None`
    /// there.
    pub deadline: Option<Instant>,
    /// No pass begins once this is `true`. Any thread may set it, and so may a signal handler.
    pub cancel: Option<Arc<AtomicBool>>,
    /// The function that is called after each pass.
    pub on_pass: Option<OnPass<'a>>,
}

impl RunControl<'_> {
    /// Tells whether another pass may begin.
    pub(super) fn check(&self, done: usize) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(ErrorKind::Cancelled { done }.into());
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(ErrorKind::DeadlineExceeded { done }.into()),
            _ => Ok(()),
        }
    }

    /// Tells who watches that a pass has ended.
    pub(super) fn after_pass(&mut self, progress: PassProgress) -> ControlFlow<()> {
        self.on_pass.as_mut().map_or(ControlFlow::Continue(()), |on_pass| on_pass(progress))
    }
}

impl fmt::Debug for RunControl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunControl")
            .field("deadline", &self.deadline)
            .field("cancel", &self.cancel)
            .field("on_pass", &self.on_pass.is_some())
            .finish()
    }
}
