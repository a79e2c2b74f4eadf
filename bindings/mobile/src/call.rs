//! What may end a call before it is done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mobilebert_bindings::{Failure, Progress, Watch};

use crate::failure::Result;

/// Ends calls from another thread.
#[derive(Debug, Default, uniffi::Object)]
pub(crate) struct Cancellation {
    is_cancelled: AtomicBool,
}

#[uniffi::export]
impl Cancellation {
    /// Makes one that has not been cancelled.
    #[uniffi::constructor]
    fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that were given this object, before their next pass.
    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Returns true once it is cancelled.
    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

/// Runs a call with what may end it: a time, and any of the objects.
pub(crate) fn watched<T>(
    timeout_millis: Option<i64>,
    cancellations: &[Arc<Cancellation>],
    work: impl FnOnce(&mut Watch<'_>) -> mobilebert_bindings::Result<T>,
) -> Result<T> {
    watched_after(timeout_millis, cancellations, || Ok(()), |(), watch| work(watch))
}

/// Runs a call whose `work` needs something that takes a while to `prepare`. The time begins before that. What
/// ends the call is looked at before and after it.
pub(crate) fn watched_after<P, T>(
    timeout_millis: Option<i64>,
    cancellations: &[Arc<Cancellation>],
    prepare: impl FnOnce() -> mobilebert_bindings::Result<P>,
    work: impl FnOnce(P, &mut Watch<'_>) -> mobilebert_bindings::Result<T>,
) -> Result<T> {
    let began = Instant::now();
    let timeout = timeout_millis.map(|millis| {
        let expected = "a number of milliseconds, 0 or more";
        let millis = u64::try_from(millis).map_err(|_| Failure::option("timeout", expected, millis));
        millis.map(Duration::from_millis)
    });
    let timeout = timeout.transpose()?;
    let is_cancelled = || cancellations.iter().any(|one| one.is_cancelled());
    let go_on = || if is_cancelled() { Err(Failure::cancelled()) } else { Ok(()) };
    go_on()?;
    let prepared = prepare()?;
    go_on()?;
    let mut on_pass = |_: Progress| match is_cancelled() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    // If no time is left, the first pass does not begin.
    let timeout = timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
    Ok(work(prepared, &mut Watch { timeout, on_pass: Some(&mut on_pass) })?)
}
