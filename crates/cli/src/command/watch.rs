//! Handles Ctrl-C and shows progress for a command whose single call may take long.

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

/// The smallest number of windows for which progress is shown. A shorter search ends before anyone could read
/// it.
const LEAST_WINDOWS: usize = 16;

/// The number of bytes of a text whose reading is shown.
const LONG_TEXT: usize = 1 << 20;

/// Stops a run when the user presses Ctrl-C, and shows the progress of the run.
pub(super) struct Watch {
    /// Set by Ctrl-C.
    cancel: Arc<AtomicBool>,
    /// Set while no run looks at `cancel`.
    idle: Arc<AtomicBool>,
    bar: ProgressBar,
    /// True if progress is written line by line, because the user asked for it and a bar would not be seen.
    lines: bool,
}

impl Watch {
    /// Installs the handlers. From here on, Ctrl-C stops a run between two passes. Outside of a run, or when
    /// pressed a second time, it ends the program at once, as it does without this type.
    pub(super) fn new(global: &Global, asked: bool) -> Self {
        let (cancel, idle) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        // The handlers run in the order in which they are registered. Where none can be registered, Ctrl-C
        // ends the program at once.
        for ends_at_once in [&idle, &cancel] {
            let _ = flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(ends_at_once));
        }
        let _ = flag::register(SIGINT, Arc::clone(&cancel));
        Self { cancel, idle, bar: progress::bar(global), lines: asked && !stderr().is_terminal() }
    }

    /// Runs the reading of a text, which takes long if the text does. Ctrl-C ends the program at once.
    pub(super) fn read<T>(&self, text: &str, read: impl FnOnce() -> T) -> T {
        if text.len() < LONG_TEXT {
            return read();
        }
        let megabytes = text.len() / 1_000_000;
        if self.lines {
            let _ = writeln!(stderr(), "reading {megabytes} MB");
        }
        let spinner = progress::spinner(&self.bar, format!("reading {megabytes} MB"));
        let result = read();
        spinner.finish_and_clear();
        result
    }

    /// Runs work that may take long.
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

    /// Shows the progress of a run. `percent` is the number that the last line showed.
    fn show(&self, progress: PassProgress, percent: &mut usize) {
        let (done, total) = (progress.sequences, progress.known_sequences);
        if total < LEAST_WINDOWS {
            return;
        }
        progress::show(&self.bar, "windows", done, total);
        let now = done * 100 / total;
        if self.lines && now > *percent {
            *percent = now;
            // If standard error has no reader, nobody has to be told.
            let _ = writeln!(stderr(), "{done} of {total} windows ({now} %)");
        }
    }
}
