//! A bar on standard error for commands that score models.

use std::io::{IsTerminal as _, stderr};

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

/// Shows the current work and its progress.
pub(super) fn show(bar: &ProgressBar, what: &str, done: usize, total: usize) {
    if bar.message() != what {
        bar.set_message(what.to_owned());
        bar.reset();
    }
    bar.set_length(total as u64);
    bar.set_position(done as u64);
}
