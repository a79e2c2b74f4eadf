//! `mobilebert bench`

use std::time::{Duration, Instant};

use mobilebert::profile::{Summary, machine, summarize};
use mobilebert::{Batch, Engine, Result};
use serde::Serialize;

use super::model_hash;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

const DEFAULT_MODEL: &str = "synthetic:mobilebert";

/// The largest distance between the quartiles, relative to the median, at which the median is quoted. A
/// larger distance shows that the machine did other work at the same time.
const MAX_SPREAD: f64 = 0.10;

/// The measurements, and the run that they belong to.
#[derive(Serialize)]
struct Report {
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

pub(super) fn run(args: &args::Bench, global: &Global) -> Result<(), Failure> {
    let model = global.model(DEFAULT_MODEL);
    let start = Instant::now();
    let engine = Engine::open(model, global.engine())?;
    let load = start.elapsed();
    let batch = batch(&engine, args.seq_len, args.batch)?;
    let pass = || -> Result<Duration> {
        let start = Instant::now();
        engine.forward(&batch)?;
        Ok(start.elapsed())
    };
    let first = pass()?;
    for _ in 0..args.warmup_runs {
        pass()?;
    }
    let began = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < args.num_runs || began.elapsed().as_secs_f64() < args.min_secs {
        samples.push(pass()?.as_secs_f64() * 1e3);
        if began.elapsed().as_secs_f64() > args.max_secs {
            break;
        }
    }
    // The peak is read before the hash, which reads the whole file into memory.
    let peak_rss_mb = machine::peak_rss_mb();
    let Some(summary) = summarize(&samples) else {
        return Err(Failure::Usage("--num-runs 0 measures nothing".to_owned()));
    };
    let lengths = vec![args.seq_len; args.batch];
    let spread = Summary::spread(&samples);
    let milliseconds = |d: Duration| d.as_secs_f64() * 1e3;
    let report = Report {
        model: model.to_owned(),
        model_sha256: model_hash(model)?,
        backend: engine.backend().name(),
        kernel: engine.backend().kernel().to_owned(),
        precision: engine.backend().precision().to_string(),
        threads: engine.threads(),
        seq_len: args.seq_len,
        batch: args.batch,
        cpu: machine::cpu(),
        warmup_runs: args.warmup_runs,
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
        stable: spread <= MAX_SPREAD,
    };
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => human(&report, &mut output)?,
    }
    output.flush()
}

fn human(r: &Report, output: &mut Output) -> Result<(), Failure> {
    let hash = r.model_sha256.as_deref().map_or(String::new(), |hash| format!(" ({})", &hash[..12]));
    output.line(format_args!(
        "{}{hash}, {} {}, {}, {} threads",
        r.model, r.backend, r.precision, r.kernel, r.threads
    ))?;
    output.line(format_args!("{} x {} tokens, unpadded; {}", r.batch, r.seq_len, r.cpu))?;
    if r.stable {
        output.line(format_args!("median {:.2} ms, {:.1} GMAC/s", r.p50_ms, r.gmacs))?;
    } else {
        let spread = 100.0 * r.spread;
        output.line(format_args!(
            "no headline: quartiles {spread:.0} % apart, the machine is busy; run again"
        ))?;
    }
    output.line(format_args!(
        "min {:.2}  mean {:.2}  p50 {:.2}  p90 {:.2}  p95 {:.2}  p99 {:.2}  max {:.2} ms of {} runs",
        r.min_ms, r.mean_ms, r.p50_ms, r.p90_ms, r.p95_ms, r.p99_ms, r.max_ms, r.runs
    ))?;
    let memory = r.peak_rss_mb.map_or_else(|| "unknown".to_owned(), |mb| format!("{mb:.1} MB"));
    output.line(format_args!(
        "load {:.1} ms, first inference {:.1} ms, peak memory {memory}",
        r.load_ms, r.first_inference_ms
    ))
}

/// The largest number of tokens in a pass. The memory that a pass needs grows with it.
const MAX_TOKENS: usize = 65_536;

/// Makes `sequences` sequences of `length` different, ordinary tokens. Both numbers are checked before any
/// memory is taken.
pub(super) fn batch(engine: &Engine, length: usize, sequences: usize) -> Result<Batch, Failure> {
    let limit = engine.config().max_position_embeddings;
    if !(1..=limit).contains(&length) {
        let problem = format!("--seq-len is {length}; expected 1 to {limit}, the model's limit");
        return Err(Failure::Usage(problem));
    }
    let most = MAX_TOKENS / length;
    if !(1..=most).contains(&sequences) {
        let problem = format!(
            "--batch is {sequences}; expected 1 to {most}, at most {MAX_TOKENS} tokens in a pass of sequences of {length}"
        );
        return Err(Failure::Usage(problem));
    }
    // Words of the usual vocabularies begin behind 1,000 reserved and single-character entries.
    const FIRST_WORD: u32 = 1996;
    let mut batch = Batch::new();
    for s in 0..sequences as u32 {
        let ids: Vec<u32> = (0..length as u32).map(|i| FIRST_WORD + (i * 37 + s * 101) % 20_000).collect();
        batch.push(&ids, &vec![0; length])?;
    }
    Ok(batch)
}
