//! The time of each operation of a forward pass.

use std::fmt;
use std::time::Instant;

use mobilebert::profile::{Event, OpInfo, Profile, Profiler, Report, Row};
use mobilebert::{Engine, Error, Result};
use serde_json::Value;

use crate::batch::batch;
use crate::limits::check_recorded;

/// The operations of a model, and their times in some passes.
#[derive(Debug)]
pub struct Operations {
    /// The sums over the passes.
    pub profile: Profile,
    ops: Vec<OpInfo>,
    last: Vec<Event>,
}

/// Runs passes of one sequence and records their operations.
///
/// # Errors
/// The errors of [`batch`]; [`mobilebert::ErrorKind::Option`] if the backend does not record operations, and
/// for numbers of runs that would record nothing or take too much memory.
pub fn operations(
    engine: &Engine,
    seq_len: usize,
    warmup_runs: usize,
    num_runs: usize,
) -> Result<Operations> {
    let backend = engine.backend();
    let ops = backend.ops();
    if ops.is_empty() {
        return Err(Error::option("backend", "native, which records operations", backend.name()));
    }
    check_recorded(ops.len(), warmup_runs, num_runs)?;
    let batch = batch(engine, seq_len, 1)?;
    let profiler = Profiler::new();
    for _ in 0..warmup_runs {
        engine.forward_profiled(&batch, &profiler)?;
    }
    profiler.take();
    let mut passes = Vec::new();
    for _ in 0..num_runs {
        let start = Instant::now();
        engine.forward_profiled(&batch, &profiler)?;
        passes.push((start.elapsed().as_nanos() as u64, profiler.take()));
    }
    let peak = backend.measure_peak_gmacs();
    let profile = Profile::new(ops, engine.threads(), seq_len, peak, &passes);
    let last = passes.pop().map(|(_, events)| events).unwrap_or_default();
    Ok(Operations { profile, ops: ops.to_vec(), last })
}

impl Operations {
    /// Returns the last pass as a Chrome trace.
    pub fn trace(&self) -> Value {
        Profiler::trace_json(&self.ops, &self.last)
    }
}

/// The tables of a profile, for people.
#[derive(Debug)]
pub struct Tables<'a> {
    /// What is shown.
    pub report: &'a Report,
    /// Whether each operation has a row.
    pub by_op: bool,
}

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        writeln!(
            f,
            "{} tokens, {} threads: {:.2} ms; peak of a thread {:.0} GMAC/s",
            report.tokens,
            report.threads,
            report.wall_us / 1e3,
            report.peak_gmacs
        )?;
        if self.by_op {
            table(f, "operation", &report.by_op)?;
        }
        table(f, "layer", &report.by_layer)?;
        table(f, "kind", &report.by_kind)?;
        table(f, "sum", std::slice::from_ref(&report.all))?;
        write!(f, "{:44} {:>25.1}%", "outside operations", 100.0 * report.unexplained_share)
    }
}

fn table(f: &mut fmt::Formatter<'_>, title: &str, rows: &[Row]) -> fmt::Result {
    writeln!(
        f,
        "\n{title:44} {:>7} {:>10} {:>7} {:>8} {:>6} {:>9}  kernel",
        "count", "us", "share", "GMAC/s", "peak", "weights"
    )?;
    for row in rows {
        writeln!(
            f,
            "{:44} {:>7.0} {:>10.1} {:>6.1}% {:>8.1} {:>5.0}% {:>8.1}K  {}",
            row.name,
            row.count,
            row.us,
            100.0 * row.share,
            row.gmacs,
            100.0 * row.of_peak,
            row.weight_bytes as f64 / 1e3,
            row.kernel
        )?;
    }
    Ok(())
}
