//! Runs records through a model in batches and writes the results in order. A record that fails does not stop
//! the others.

use std::io::{IsTerminal as _, stderr, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mobilebert::{Error, ErrorKind, Result};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::args::Global;
use super::failure::{Failure, INTERRUPTED, describe, is_cancelled};
use super::input::{Record, Records};
use super::output::Output;
use super::signals;

/// The work that a command does on each record.
pub(super) trait Task {
    /// The result of the model for one record.
    type Outcome;

    /// The number of records that [`Task::run_batch`] gets unless the user chooses. It is 1 if running
    /// several at once is no faster.
    const BATCH: usize = 1;

    /// Runs the model on the texts of one record.
    fn run(&self, fields: &[String]) -> Result<Self::Outcome>;

    /// Runs the model on several records.
    fn run_batch(&self, batch: &[&[String]]) -> Result<Vec<Self::Outcome>> {
        batch.iter().map(|fields| self.run(fields)).collect()
    }

    /// Writes the outcome of a record. `fields` are the texts that the model was run on.
    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        outcome: Self::Outcome,
    ) -> Result<(), Failure>;
}

/// The error code of a record that could not be read. It is the same as that of the library's
/// `ErrorKind::Input`.
const UNREADABLE: &str = "input";

/// Runs the task on each record.
pub(super) fn run<T: Task>(
    task: &T,
    mut records: Records,
    mut output: Output,
    global: &Global,
    to_file: bool,
) -> Result<(), Failure> {
    if output.is_partial() {
        stop_at_interrupt(&records.stop);
        signals::clean_up_at_termination();
    }
    let progress = Progress::new(&records, global, to_file);
    let size = if T::BATCH > 1 { records.batch.unwrap_or(T::BATCH) } else { 1 };
    let (mut failed, mut total) = (0, 0);
    loop {
        let batch = records.next_batch(size)?;
        if records.stop.load(Ordering::SeqCst) {
            return Err(Error::from(ErrorKind::Cancelled { done: total }).into());
        }
        let Some(end) = batch.last().map(|record| record.end) else { break };
        total += batch.len();
        let mut outcomes = run_batch(task, &batch).into_iter();
        for record in &batch {
            let problem = match &record.fields {
                Err(problem) => (problem.clone(), UNREADABLE),
                Ok(fields) => match outcomes.next() {
                    Some(Ok(outcome)) => {
                        task.write(&mut output, record, fields, outcome)?;
                        continue;
                    }
                    Some(Err(error)) if records.is_single() || is_cancelled(&error) => {
                        return Err(error.into());
                    }
                    Some(Err(error)) => (describe(&error), error.code()),
                    None => ("no result".to_owned(), UNREADABLE),
                },
            };
            failed += 1;
            output.error(record, &problem.0, problem.1)?;
        }
        output.flush()?;
        progress.update(end, total);
    }
    output.finish()?;
    progress.finish();
    if failed > 0 { Err(Failure::Records { failed, total }) } else { Ok(()) }
}

/// Makes Ctrl-C stop the run between two batches, so that an output under construction is removed. Pressed a
/// second time, it ends the program at once.
fn stop_at_interrupt(stop: &Arc<AtomicBool>) {
    // The handlers run in the order in which they are registered. Where none can be registered, Ctrl-C ends
    // the program at once, and the next run removes what is left.
    let _ = flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(stop));
    let _ = flag::register(SIGINT, Arc::clone(stop));
}

/// Runs the records that could be read, and returns one result for each. If the batch fails, each record is
/// run alone, so that an error belongs to one record.
fn run_batch<T: Task>(task: &T, batch: &[Record]) -> Vec<Result<T::Outcome, Error>> {
    let readable: Vec<&[String]> = batch.iter().filter_map(|r| r.fields.as_deref().ok()).collect();
    if readable.len() > 1
        && let Ok(outcomes) = task.run_batch(&readable)
    {
        return outcomes.into_iter().map(Ok).collect();
    }
    readable.into_iter().map(|fields| task.run(fields)).collect()
}

/// A progress bar on standard error, shown while a batch file is read and standard error is a terminal.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(records: &Records, global: &Global, to_file: bool) -> Self {
        // Results that appear on the same terminal show the progress themselves.
        let visible = records.is_file
            && !global.quiet
            && stderr().is_terminal()
            && (to_file || !stdout().is_terminal());
        let bar = match (visible, records.length) {
            (false, _) => ProgressBar::hidden(),
            (true, Some(length)) => {
                let template = "{bar:30} {percent}% {bytes} of {total_bytes}, {msg} inputs, {eta} left";
                ProgressBar::new(length).with_style(
                    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
                )
            }
            (true, None) => {
                let bar = ProgressBar::new_spinner();
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
        };
        Self { bar }
    }

    fn update(&self, end: u64, total: usize) {
        self.bar.set_position(end);
        self.bar.set_message(total.to_string());
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
