//! Bars on standard error for commands that take long.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Global;

/// Creates the bar. It is hidden if nobody would see it.
pub(super) fn bar(global: &Global) -> ProgressBar {
    if global.quiet || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg:8} {bar:40} {pos}/{len} {eta} {prefix}") {
        bar.set_style(style);
    }
    bar
}

/// Creates a sign that turns while work goes on whose end is not known. It is hidden if the bar is.
pub(super) fn spinner(bar: &ProgressBar, what: String) -> ProgressBar {
    if bar.is_hidden() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner
}

/// Shows the current work and its progress.
pub(super) fn show(bar: &ProgressBar, what: &str, done: usize, total: usize) {
    if bar.message() != what {
        bar.set_message(what.to_owned());
        bar.reset();
    }
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}
