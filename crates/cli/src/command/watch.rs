//! Ctrl-C and progress for a command whose single call may take long.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use mobilebert::{PassProgress, Result, RunControl};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::progress;
use crate::args::Global;
use crate::failure::INTERRUPTED;

/// The least number of windows for which progress is shown. Shorter searches end before it could be read.
const LEAST_WINDOWS: usize = 16;

/// Stops a run when the user presses Ctrl-C, and shows how far it is.
pub(super) struct Watch {
    /// Set by Ctrl-C.
    cancel: Arc<AtomicBool>,
    /// Set while nothing runs that looks at `cancel`.
    idle: Arc<AtomicBool>,
    bar: ProgressBar,
    /// Whether progress is written line by line, because the user wants it and a bar would not be seen.
    lines: bool,
}

impl Watch {
    /// From here on Ctrl-C stops a run between two passes; outside of a run, and the second time, it ends the
    /// program at once, as it does without this.
    pub(super) fn new(global: &Global, asked: bool) -> Self {
        let (cancel, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        // They act in this order. Where there are no such handlers, Ctrl-C ends the program at once.
        for ends_at_once in [&idle, &cancel] {
            let _ = flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(ends_at_once));
        }
        let _ = flag::register(SIGINT, Arc::clone(&cancel));
        Self { cancel, idle, bar: progress::bar(global), lines: asked && !stderr().is_terminal() }
    }

    /// Runs what may take long.
    pub(super) fn run<T>(&self, run: impl FnOnce(&mut RunControl<'_>) -> Result<T>) -> Result<T> {
        let mut percent = 0;
        let mut show = |progress: PassProgress| {
            self.show(progress, &mut percent);
            ControlFlow::Continue(())
        };
        let mut control = RunControl::default();
        control.cancel = Some(Arc::clone(&self.cancel));
        control.on_pass = Some(&mut show);
        self.idle.store(false, Ordering::SeqCst);
        let result = run(&mut control);
        self.idle.store(true, Ordering::SeqCst);
        self.bar.finish_and_clear();
        result
    }

    /// `percent`: what the last line said.
    fn show(&self, progress: PassProgress, percent: &mut usize) {
        let (done, total) = (progress.sequences, progress.known_sequences);
        if total < LEAST_WINDOWS {
            return;
        }
        progress::show(&self.bar, "windows", done, total);
        let now = done * 100 / total;
        if self.lines && now > *percent {
            *percent = now;
            // Without a reader of standard error there is nobody to tell.
            let _ = writeln!(stderr(), "{done} of {total} windows ({now} %)");
        }
    }
}
