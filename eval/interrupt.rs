//! Ctrl-C during predictions: the run ends after the examples that are being computed, and says how it goes
//! on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::failure::INTERRUPTED;

/// Notes Ctrl-C while predictions are made. Before and after, or when pressed a second time, Ctrl-C ends the
/// program at once.
pub(crate) struct Interrupt {
    pressed: Arc<AtomicBool>,
    /// Set while nobody looks at `pressed`.
    idle: Arc<AtomicBool>,
}

impl Interrupt {
    pub(crate) fn new() -> Self {
        let (pressed, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        // The handlers run in the order in which they are registered. Where none can be registered, Ctrl-C
        // ends the program at once.
        for ends_at_once in [&idle, &pressed] {
            let _ = flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(ends_at_once));
        }
        let _ = flag::register(SIGINT, Arc::clone(&pressed));
        Self { pressed, idle }
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.idle.store(true, Ordering::SeqCst);
    }
}
