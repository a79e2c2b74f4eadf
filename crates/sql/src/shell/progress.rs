//! How far a statement is: texts that models have read, and how many a second.

use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use mobilebert_sql_core::{Call, Counts};

use crate::session::Session;
use crate::shell::Report;

/// The time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct Progress<'a> {
    session: &'a Session,
    before: HashMap<Call, Counts>,
    start: Instant,
    is_shown: bool,
    is_summed_up: bool,
    on_screen: bool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(session: &'a Session, report: Report) -> Self {
        let terminal = io::stderr().is_terminal();
        let is_summed_up = report == Report::Always || report == Report::Auto && terminal;
        Self {
            session,
            before: session.counts(),
            start: Instant::now(),
            // A line that is written over itself is of no use in a file.
            is_shown: terminal && is_summed_up,
            is_summed_up,
            on_screen: false,
        }
    }

    /// Writes the number of texts over the last one. A message that cannot be written is not missed.
    pub(super) fn show(&mut self, err: &mut dyn Write) {
        let read: u64 = self.session.since(&self.before).iter().map(|(_, counts)| counts.computed).sum();
        if self.is_shown && read > 0 {
            let rate = read as f64 / self.start.elapsed().as_secs_f64();
            let _ = write!(err, "\r\x1b[K{read} texts, {rate:.0}/s");
            let _ = err.flush();
            self.on_screen = true;
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self, err: &mut dyn Write) {
        if std::mem::take(&mut self.on_screen) {
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }

    /// Writes what was done. Texts that could not be read are told in any case, because their rows are NULL.
    pub(super) fn finish(&mut self, rows: usize, name: &str, err: &mut dyn Write) {
        let seconds = self.start.elapsed().as_secs_f64();
        let calls = self.session.since(&self.before);
        if self.is_summed_up {
            let _ = writeln!(err, "{rows} rows in {seconds:.2} s");
            for (call, counts) in &calls {
                let rate = counts.computed as f64 / seconds;
                let _ = writeln!(err, "{call}: {counts}, {rate:.0} texts/s");
            }
        }
        let failed: u64 = calls.iter().map(|(_, counts)| counts.failed).sum();
        if failed > 0 {
            let _ = writeln!(
                err,
                "{name}: {failed} texts could not be read, and their rows are NULL; \
                 `set mobilebert.on_error = 'fail'` tells which"
            );
        }
    }
}
