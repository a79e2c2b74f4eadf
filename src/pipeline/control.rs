//! Progress and cancellation between forward passes.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::error::{ErrorKind, Result};

/// The progress of a run. All numbers count from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PassProgress {
    /// The number of forward passes that were run.
    pub passes: usize,
    /// The number of sequences that the model has read.
    pub sequences: usize,
    /// The number of sequences of all jobs that were taken up so far. In a run of one job this is the number
    /// that `sequences` will reach. In longer runs it grows, because jobs are prepared one after another.
    pub known_sequences: usize,
    /// The number of tokens in the sequences that the model has read.
    pub tokens: usize,
}

/// A function that is called after each pass; `Break` stops the run before the next one.
pub type OnPass<'a> = &'a mut dyn FnMut(PassProgress) -> ControlFlow<()>;

/// The conditions that stop a run early, and a function that watches it. The default lets the run go to its
/// end.
///
/// A run checks these between passes, so it stops within the time of one pass, which holds at most 512 tokens
/// or one sequence. One control may serve several runs, one after another.
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
    /// The time after which no pass begins. In a browser, WebAssembly has no clock, so leave it `None` there.
    pub deadline: Option<Instant>,
    /// A function that says whether the time is over, for programs whose clock is another one. No pass begins
    /// once it returns `true`, as behind `deadline`.
    pub is_late: Option<&'a dyn Fn() -> bool>,
    /// A flag that stops the run: no pass begins once it is `true`. Any thread may set it, and so may a
    /// signal handler.
    pub cancel: Option<Arc<AtomicBool>>,
    /// The function that is called after each pass.
    pub on_pass: Option<OnPass<'a>>,
}

impl RunControl<'_> {
    /// Checks that another pass may begin.
    pub(super) fn check(&self, done: usize) -> Result<()> {
        if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(ErrorKind::Cancelled { done }.into());
        }
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.is_late.is_some_and(|is_late| is_late());
        if is_late { Err(ErrorKind::DeadlineExceeded { done }.into()) } else { Ok(()) }
    }

    /// Calls `on_pass` after a pass.
    pub(super) fn after_pass(&mut self, progress: PassProgress) -> ControlFlow<()> {
        self.on_pass.as_mut().map_or(ControlFlow::Continue(()), |on_pass| on_pass(progress))
    }
}

impl fmt::Debug for RunControl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunControl")
            .field("deadline", &self.deadline)
            .field("is_late", &self.is_late.is_some())
            .field("cancel", &self.cancel)
            .field("on_pass", &self.on_pass.is_some())
            .finish()
    }
}
