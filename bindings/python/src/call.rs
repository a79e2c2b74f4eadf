//! Calls that may take long: they run without the interpreter's lock, are stopped by Ctrl-C and by a
//! time-out, and tell of their progress.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mobilebert_bindings::{Failure, Progress, Result, Watch};
use pyo3::prelude::*;

use crate::errors::exception;

/// The time between two looks at signals, and between two reports of progress. A look waits for the
/// interpreter's lock, so it has to be rare beside forward passes, and often beside a person's patience.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Runs `work` without the interpreter's lock and raises its failure.
pub(crate) fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(work).map_err(|failure| exception(py, &failure))
}

/// Runs a call that is watched. `timeout` is in seconds; `progress` is called with the numbers of inputs done
/// and in all.
pub(crate) fn watched<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&mut Watch<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    // The last inputs are done behind the last pass.
    let all = |last: Progress| Progress { done: last.total, ..last };
    watched_until(py, timeout, progress, all, work)
}

/// Runs a search that may end before all is read, as [`watched`] runs others.
pub(crate) fn watched_search<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&mut Watch<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    watched_until(py, timeout, progress, |last| last, work)
}

/// Runs a call that is watched. `end` makes of its last progress what is true when it has succeeded.
fn watched_until<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    progress: Option<Py<PyAny>>,
    end: impl FnOnce(Progress) -> Progress,
    work: impl FnOnce(&mut Watch<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    let timeout = timeout.map(|seconds| {
        let expected = "a number of seconds, 0 or more, that a clock can count";
        Duration::try_from_secs_f64(seconds).map_err(|_| Failure::option("timeout", expected, seconds))
    });
    let timeout = timeout.transpose().map_err(|failure| exception(py, &failure))?;
    let mut watcher = Watcher::new(progress);
    let (mut last, mut told) = (None, None);
    let mut on_pass = |now: Progress| {
        last = Some(now);
        watcher.look(now.done == now.total, |py, tell| {
            told = Some(now);
            tell.call1(py, (now.done, now.total))
        })
    };
    let result = {
        let watched = || {
            let mut watch = Watch { timeout, on_pass: Some(&mut on_pass), ..Watch::default() };
            work(&mut watch)
        };
        py.detach(watched)
    };
    let result = watcher.finish(py, result)?;
    let end = last.map(end).filter(|end| told != Some(*end));
    if let (Some(tell), Some(Progress { done, total })) = (&watcher.progress, end) {
        tell.call1(py, (done, total))?;
    }
    Ok(result)
}

/// Runs a tool that is watched. `progress` is called with the step, what is done of it, and the whole.
pub(crate) fn watched_tool<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&mut dyn FnMut(&str, usize, usize) -> ControlFlow<()>) -> Result<T> + Send,
) -> PyResult<T> {
    let mut watcher = Watcher::new(progress);
    let mut tell = |step: &str, done: usize, total: usize| {
        watcher.look(done == total, |py, tell| tell.call1(py, (step, done, total)))
    };
    let result = py.detach(|| work(&mut tell));
    watcher.finish(py, result)
}

/// Looks at signals and tells of progress, between two steps of work without the interpreter's lock.
struct Watcher {
    progress: Option<Py<PyAny>>,
    last: Instant,
    raised: Option<PyErr>,
}

impl Watcher {
    fn new(progress: Option<Py<PyAny>>) -> Self {
        Self { progress, last: Instant::now(), raised: None }
    }

    /// Takes the interpreter's lock if it is time, or if this is an end that a watcher should see.
    fn look(
        &mut self,
        at_end: bool,
        tell: impl FnOnce(Python<'_>, &Py<PyAny>) -> PyResult<Py<PyAny>>,
    ) -> ControlFlow<()> {
        if self.raised.is_some() {
            return ControlFlow::Break(());
        }
        let is_seen = at_end && self.progress.is_some();
        if !is_seen && self.last.elapsed() < BETWEEN_LOOKS {
            return ControlFlow::Continue(());
        }
        let looked = Python::attach(|py| {
            py.check_signals()?;
            self.progress.as_ref().map_or(Ok(()), |progress| tell(py, progress).map(drop))
        });
        self.last = Instant::now();
        match looked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Raises what a signal handler or the progress function raised, or else the failure.
    fn finish<T>(&mut self, py: Python<'_>, result: Result<T>) -> PyResult<T> {
        match self.raised.take() {
            Some(error) => Err(error),
            None => result.map_err(|failure| exception(py, &failure)),
        }
    }
}
