//! Runs a list of inputs: each pass is watched, and the first input that fails is named.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mobilebert::{Error, ErrorKind, Job, Model, PassProgress, RunControl};

use crate::failure::{Failure, Result};
use crate::texts::Texts;

/// How far a call is. For a list of inputs these are inputs; for a single one, the sequences that it was cut
/// into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number that is done.
    pub done: usize,
    /// The number in all.
    pub total: usize,
}

/// What may stop a call between two forward passes, and who is told of its progress.
#[derive(Default)]
pub struct Watch<'a> {
    /// The time that the call may take. No pass begins after it.
    pub timeout: Option<Duration>,
    /// A function that says whether the time is over, where [`Watch::timeout`] has no clock: in a browser.
    pub is_late: Option<&'a dyn Fn() -> bool>,
    /// A function that is called after each pass, and after a shared context was tokenised. `Break` stops the
    /// call with the failure `cancelled`.
    pub on_pass: Option<&'a mut dyn FnMut(Progress) -> ControlFlow<()>>,
}

impl Watch<'_> {
    /// Returns the end of the time that begins now.
    ///
    /// # Errors
    /// `option` for a time that no clock can count.
    pub(crate) fn deadline(&self) -> Result<Option<Instant>> {
        let expected = "a number of seconds that a clock can count";
        let end = |timeout| {
            Instant::now().checked_add(timeout).ok_or_else(|| Failure::option("timeout", expected, "longer"))
        };
        self.timeout.map(end).transpose()
    }

    /// Does work of the call in front of its first pass: the time of the work counts, and the call does not
    /// go on if it was stopped meanwhile. `total` is the number of inputs, none of which is done.
    pub(crate) fn step<T>(&mut self, total: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
        // WebAssembly has no clock in a browser.
        let began = self.timeout.map(|_| Instant::now());
        let done = work()?;
        if let (Some(timeout), Some(began)) = (self.timeout, began) {
            self.timeout = Some(timeout.saturating_sub(began.elapsed()));
        }
        let is_over = self.timeout.is_some_and(|left| left.is_zero());
        if is_over || self.is_late.is_some_and(|is_late| is_late()) {
            return Err(Error::from(ErrorKind::DeadlineExceeded { done: 0 }).into());
        }
        match self.on_pass.as_mut().map(|tell| tell(Progress { done: 0, total })) {
            Some(ControlFlow::Break(())) => Err(Failure::cancelled()),
            _ => Ok(done),
        }
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, is_late, on_pass } = self;
        f.debug_struct("Watch")
            .field("timeout", timeout)
            .field("is_late", &is_late.is_some())
            .field("on_pass", &on_pass.is_some())
            .finish()
    }
}

/// The inputs of a call.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    /// The texts, or the first ones of pairs.
    texts: &'a dyn Texts,
    /// What the list holds, or `None` for a call with a single input, whose errors name no index.
    unit: Option<&'static str>,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(texts: &'a dyn Texts, is_list: bool, unit: &'static str) -> Self {
        Self { texts, unit: is_list.then_some(unit) }
    }

    fn name(&self, failure: Failure, index: usize) -> Failure {
        match self.unit {
            Some(unit) => failure.of(unit, self.texts.row(index)),
            None => failure,
        }
    }
}

/// Runs a job for each input and delivers the results in order. A job is prepared when a pass has room for
/// it, so memory does not grow with the list. The first input that fails ends the call.
pub(crate) fn run<J: Job>(
    model: &Model,
    inputs: Inputs<'_>,
    watch: &mut Watch<'_>,
    mut prepare: impl FnMut(usize) -> mobilebert::Result<J>,
    mut deliver: impl FnMut(usize, J::Output) -> Result<()>,
) -> Result<()> {
    let count = inputs.texts.count();
    let (stop, delivered) = (Cell::new(false), Cell::new(0));
    let mut failed = None;
    let jobs = (0..count).map_while(|index| {
        // Nobody will see the results behind a failure.
        let job = (!stop.get()).then(|| prepare(index))?;
        stop.set(job.is_err());
        Some(job)
    });
    let (deadline, is_late) = (watch.deadline()?, watch.is_late);
    let on_pass = &mut watch.on_pass;
    let mut after_pass = |pass: PassProgress| {
        let progress = match count {
            1 => Progress { done: pass.sequences, total: pass.known_sequences },
            total => Progress { done: delivered.get(), total },
        };
        on_pass.as_mut().map_or(ControlFlow::Continue(()), |tell| tell(progress))
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut after_pass);
    (control.deadline, control.is_late) = (deadline, is_late);
    let ran = model.run_each(jobs, &mut control, |index, result| {
        delivered.set(index + 1);
        if failed.is_none() {
            let failure = match result {
                Ok(output) => deliver(index, output).err(),
                Err(error) => Some(error.into()),
            };
            failed = failure.map(|failure| inputs.name(failure, index));
            stop.set(stop.get() || failed.is_some());
        }
    });
    match failed {
        Some(failure) => Err(failure),
        None => Ok(ran?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_front_of_the_passes_is_watched() {
        let pause = Duration::from_millis(5);
        let work = || {
            std::thread::sleep(pause);
            Ok(7)
        };
        assert_eq!(Watch::default().step(1, work).unwrap(), 7);
        let mut late = Watch { timeout: Some(pause), ..Watch::default() };
        assert_eq!(late.step(1, work).unwrap_err().code(), "deadline_exceeded");
        let mut late = Watch { is_late: Some(&|| true), ..Watch::default() };
        assert_eq!(late.step(1, work).unwrap_err().code(), "deadline_exceeded");
        let hour = Duration::from_secs(3600);
        let mut early = Watch { timeout: Some(hour), ..Watch::default() };
        assert_eq!(early.step(1, work).unwrap(), 7);
        assert!(early.timeout.unwrap() <= hour - pause);
        let mut seen = Vec::new();
        let mut stop = |now| {
            seen.push(now);
            ControlFlow::Break(())
        };
        let mut stopped = Watch { on_pass: Some(&mut stop), ..Watch::default() };
        assert_eq!(stopped.step(3, work).unwrap_err().code(), "cancelled");
        assert_eq!(seen, [Progress { done: 0, total: 3 }]);
    }
}
