//! The time of a forward pass.

use std::fmt;
use std::time::{Duration, Instant};

use mobilebert::profile::{Summary, machine, summarize};
use mobilebert::{Engine, EngineOptions, Error, ModelFiles, Result};
use serde::Serialize;

use crate::batch::batch;
use crate::limits::{Runs, check_runs};

/// The largest distance between the quartiles, relative to the median, at which the median is quoted. A
/// larger distance shows that the machine did other work at the same time.
const MAX_SPREAD: f64 = 0.10;

/// The fewest runs whose median is quoted: the quartiles of fewer say nothing about their spread.
const FEWEST_RUNS: usize = 6;

/// The measurements, and the run that they belong to. It is shown as lines for people, and is an object in
/// JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    model: String,
    model_sha256: Option<String>,
    backend: &'static str,
    kernel: String,
    precision: String,
    threads: usize,
    seq_len: usize,
    batch: usize,
    cpu: String,
    warmup_runs: usize,
    runs: usize,
    min_ms: f64,
    mean_ms: f64,
    std_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    load_ms: f64,
    first_inference_ms: f64,
    peak_rss_mb: Option<f64>,
    /// Billions of multiply-adds a second at the median, over all threads together.
    gmacs: f64,
    /// The distance between the quartiles, relative to the median.
    spread: f64,
    /// True if the spread is small enough to quote the median.
    stable: bool,
}

/// Opens a model and measures its passes.
///
/// # Errors
/// The errors of [`Engine::open`] and [`batch`]; [`mobilebert::ErrorKind::Option`] for a number of runs or
/// seconds that would measure nothing, take too much memory or never end.
pub fn latency(model: &str, options: EngineOptions, runs: &Runs) -> Result<Latency> {
    check_runs(runs)?;
    let start = Instant::now();
    let engine = Engine::open(model, options)?;
    let load = start.elapsed();
    let batch = batch(&engine, runs.seq_len, runs.batch)?;
    let pass = || -> Result<Duration> {
        let start = Instant::now();
        engine.forward(&batch)?;
        Ok(start.elapsed())
    };
    let first = pass()?;
    for _ in 0..runs.warmup_runs {
        pass()?;
    }
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < runs.num_runs || began.elapsed().as_secs_f64() < runs.min_secs {
        samples.push(pass()?.as_secs_f64() * 1e3);
        if began.elapsed().as_secs_f64() > runs.max_secs {
            break;
        }
    }
    // The peak is read before the hash, which reads the whole file into memory.
    let peak_rss_mb = machine::peak_rss_mb();
    let Some(summary) = summarize(&samples) else {
        return Err(Error::option("num_runs", "at least 1, or some seconds", runs.num_runs));
    };
    let lengths = vec![runs.seq_len; runs.batch];
    let spread = Summary::spread(&samples);
    let milliseconds = |d: Duration| d.as_secs_f64() * 1e3;
    Ok(Latency {
        model: model.to_owned(),
        model_sha256: model_hash(model)?,
        backend: engine.backend().name(),
        kernel: engine.backend().kernel().to_owned(),
        precision: engine.backend().precision().to_string(),
        threads: engine.threads(),
        seq_len: runs.seq_len,
        batch: runs.batch,
        cpu: machine::cpu(),
        warmup_runs: runs.warmup_runs,
        runs: summary.runs,
        min_ms: summary.min,
        mean_ms: summary.mean,
        std_ms: summary.std,
        p50_ms: summary.p50,
        p90_ms: summary.p90,
        p95_ms: summary.p95,
        p99_ms: summary.p99,
        max_ms: summary.max,
        load_ms: milliseconds(load),
        first_inference_ms: milliseconds(first),
        peak_rss_mb,
        gmacs: engine.backend().graph().macs(&lengths) as f64 / summary.p50 / 1e6,
        spread,
        stable: spread <= MAX_SPREAD && summary.runs >= FEWEST_RUNS,
    })
}

/// Returns the SHA-256 of a model's weight files, one after another, or `None` for a synthetic model.
fn model_hash(source: &str) -> Result<Option<String>> {
    if source.starts_with("synthetic:") {
        return Ok(None);
    }
    ModelFiles::resolve(source)?.weights_sha256().map(Some)
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.model_sha256.as_deref().and_then(|hash| hash.get(..12));
        let hash = hash.map_or(String::new(), |hash| format!(" ({hash})"));
        writeln!(
            f,
            "{}{hash}, {} {}, {}, {} threads",
            self.model, self.backend, self.precision, self.kernel, self.threads
        )?;
        writeln!(f, "{} x {} tokens, unpadded; {}", self.batch, self.seq_len, self.cpu)?;
        if self.stable {
            writeln!(f, "median {:.2} ms, {:.1} GMAC/s", self.p50_ms, self.gmacs)?;
        } else if self.runs < FEWEST_RUNS {
            let runs = self.runs;
            writeln!(
                f,
                "no headline: {runs} of at least {FEWEST_RUNS} runs; raise --num-runs or --max-secs"
            )?;
        } else {
            let spread = 100.0 * self.spread;
            writeln!(f, "no headline: quartiles {spread:.0} % apart, the machine is busy; run again")?;
        }
        writeln!(
            f,
            "min {:.2}  mean {:.2}  p50 {:.2}  p90 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2} ms of {} runs",
            self.min_ms,
            self.mean_ms,
            self.p50_ms,
            self.p90_ms,
            self.p95_ms,
            self.p99_ms,
            self.max_ms,
            self.runs
        )?;
        let memory = self.peak_rss_mb.map_or_else(|| "unknown".to_owned(), |mb| format!("{mb:.1} MB"));
        write!(
            f,
            "load {:.1} ms, first inference {:.1} ms, peak memory {memory}",
            self.load_ms, self.first_inference_ms
        )
    }
}
