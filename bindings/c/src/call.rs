//! What each call has around it: errors for the caller, panics that stay here, time-outs and cancellation.

use std::any::Any;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mobilebert_bindings::{Failure, Progress, Result, Watch};

use crate::abi::cancel::MobilebertCancel;
use crate::abi::error::MobilebertError;
use crate::memory;

/// The code of a panic, which is a fault of this library.
const PANIC: &str = "panic";

/// Where a caller wants to find the error, if it wants one. What is there before does not matter.
pub(crate) type ErrorOut<'a> = Option<&'a mut MaybeUninit<*mut MobilebertError>>;

/// Runs the work of an exported function that can fail. The caller finds NULL at `error` if it did not.
pub(crate) fn run<T>(error: ErrorOut<'_>, work: impl FnOnce() -> Result<T>) -> Option<T> {
    // Handles do not change in calls, so nothing is left half done behind a panic.
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(&*payload)));
    let (found, failure) = match result {
        Ok(found) => (Some(found), None),
        Err(failure) => (None, Some(failure)),
    };
    if let Some(place) = error {
        let made = failure.map(|failure| Box::new(MobilebertError::new(&failure)));
        place.write(made.map_or(std::ptr::null_mut(), Box::into_raw));
    }
    found
}

/// Runs the work of an exported function that cannot fail.
pub(crate) fn quietly<T: Default>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_default()
}

fn panicked(payload: &(dyn Any + Send)) -> Failure {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let problem = format!("the library has a fault, please report it: {text}; the model can still be used");
    Failure::new(PANIC, "library", problem)
}

/// Runs the work of a call that a caller may stop. `timeout_ms` is 0 if it may take any time.
pub(crate) fn watched<T>(
    timeout_ms: u64,
    cancel: *const MobilebertCancel,
    work: impl FnOnce(&mut Watch<'_>) -> Result<T>,
) -> Result<T> {
    let cancel = memory::cancel(cancel);
    let is_cancelled = || cancel.is_some_and(MobilebertCancel::is_requested);
    if is_cancelled() {
        return Err(Failure::cancelled());
    }
    let mut on_pass = |_: Progress| match is_cancelled() {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
    let mut watch = Watch { timeout, ..Watch::default() };
    if cancel.is_some() {
        watch.on_pass = Some(&mut on_pass);
    }
    work(&mut watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let mut place = MaybeUninit::uninit();
        let found = run(Some(&mut place), || -> Result<u8> { panic!("seventeen") });
        assert!(found.is_none());
        let failure = panicked(&"seventeen");
        assert_eq!((failure.code(), failure.place()), (PANIC, Some("library")));
        assert!(failure.message().contains("seventeen"), "{failure}");
        assert_eq!(quietly(|| -> u8 { panic!("too") }), 0);
    }

    #[test]
    fn a_cancelled_call_does_not_begin() {
        let cancel = MobilebertCancel::default();
        assert_eq!(watched(0, &raw const cancel, |_| Ok(1)).unwrap(), 1);
        cancel.request();
        assert_eq!(watched(0, &raw const cancel, |_| Ok(1)).unwrap_err().code(), "cancelled");
    }
}
