//! A flag that stops calls.

#![allow(unsafe_code, reason = "exported names")]

use std::sync::atomic::{AtomicBool, Ordering};

use crate::call::quietly;

/// A flag by which one thread stops the calls of others. The options of each task have a field for it.
#[derive(Default)]
pub struct MobilebertCancel(AtomicBool);

impl MobilebertCancel {
    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn request(&self) {
        mobilebert_cancel_request(Some(self));
    }
}

/// Makes a flag. The caller frees it with `mobilebert_cancel_free` when no call uses it any more.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_cancel_new() -> Option<Box<MobilebertCancel>> {
    quietly(|| Some(Box::default()))
}

/// Asks all calls with this flag to stop, those to come too. A call looks at it before it begins and between
/// two forward passes, each of a few milliseconds, and then fails with "cancelled". Any thread and any signal
/// handler may call this. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_cancel_request(cancel: Option<&MobilebertCancel>) {
    if let Some(cancel) = cancel {
        cancel.0.store(true, Ordering::Relaxed);
    }
}

/// Takes the request back, so that the flag can be used again. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_cancel_reset(cancel: Option<&MobilebertCancel>) {
    if let Some(cancel) = cancel {
        cancel.0.store(false, Ordering::Relaxed);
    }
}

/// Frees a flag. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_cancel_free(cancel: Option<Box<MobilebertCancel>>) {
    quietly(|| drop(cancel));
}
