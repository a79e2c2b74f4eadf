//! What may end a call before it is done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// Runs a call with what may end it: a time, which begins here, and any of the objects.
pub(crate) fn watched<T>(
    timeout_millis: Option<i64>,
    cancellations: &[Arc<Cancellation>],
    work: impl FnOnce(&mut Watch<'_>) -> mobilebert_bindings::Result<T>,
) -> Result<T> {
    let timeout = timeout_millis.map(|millis| {
        let expected = "a number of milliseconds, 0 or more";
        let millis = u64::try_from(millis).map_err(|_| Failure::option("timeout", expected, millis));
        millis.map(Duration::from_millis)
    });
    let timeout = timeout.transpose()?;
    let mut go_on = |_: Progress| match cancellations.iter().any(|one| one.is_cancelled()) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    if go_on(Progress { done: 0, total: 0 }).is_break() {
        return Err(Failure::cancelled().into());
    }
    Ok(work(&mut Watch { timeout, on_pass: Some(&mut go_on), ..Watch::default() })?)
}
