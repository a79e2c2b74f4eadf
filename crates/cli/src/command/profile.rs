//! `mobilebert profile` and `mobilebert profile diff`

use std::fs;
use std::path::Path;
use std::time::Instant;

use mobilebert::profile::{Profile, Profiler, Report, Row, diff};
use mobilebert::{Engine, ErrorKind, Result};

use super::bench::batch;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

const DEFAULT_MODEL: &str = "synthetic:mobilebert";

pub(super) fn run(args: &args::Profile, global: &Global) -> Result<(), Failure> {
    match &args.command {
        Some(args::ProfileCommand::Diff(files)) => compare(&files.before, &files.after, global),
        None => measure(args, global),
    }
}

fn measure(args: &args::Profile, global: &Global) -> Result<(), Failure> {
    let engine = Engine::open(global.model(DEFAULT_MODEL), global.engine())?;
    let ops = engine.backend().ops();
    if ops.is_empty() {
        let message = format!(
            "the backend {} does not record operations; use --backend native",
            engine.backend().name()
        );
        return Err(Failure::Usage(message));
    }
    let batch = batch(&engine, args.seq_len, 1)?;
    let profiler = Profiler::new();
    for _ in 0..args.warmup_runs {
        engine.forward_profiled(&batch, &profiler)?;
    }
    profiler.take();
    let mut passes = Vec::with_capacity(args.num_runs);
    for _ in 0..args.num_runs {
        let start = Instant::now();
        engine.forward_profiled(&batch, &profiler)?;
        passes.push((start.elapsed().as_nanos() as u64, profiler.take()));
    }
    if let (Some(path), Some((_, events))) = (&args.trace, passes.last()) {
        write(path, &Profiler::trace_json(ops, events).to_string())?;
    }
    let peak = engine.backend().measure_peak_gmacs();
    let profile = Profile::new(ops, engine.threads(), args.seq_len, peak, &passes);
    if let Some(path) = &args.save {
        write(path, &serde_json::to_string(&profile).map_err(|e| json_error(path, e))?)?;
    }
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&profile)?,
        Format::Human | Format::Table => human(&profile.report(), args.by_op, &mut output)?,
    }
    output.flush()
}

fn human(report: &Report, by_op: bool, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!(
        "{} tokens, {} threads: {:.2} ms; peak of a thread {:.0} GMAC/s",
        report.tokens,
        report.threads,
        report.wall_us / 1e3,
        report.peak_gmacs
    ))?;
    let mut table = |title: &str, rows: &[Row]| -> Result<(), Failure> {
        output.line(format_args!(
            "\n{title:44} {:>7} {:>10} {:>7} {:>8} {:>6} {:>9}  kernel",
            "count", "us", "share", "GMAC/s", "peak", "weights"
        ))?;
        for row in rows {
            output.line(format_args!(
                "{:44} {:>7.0} {:>10.1} {:>6.1}% {:>8.1} {:>5.0}% {:>8.1}K  {}",
                row.name,
                row.count,
                row.us,
                100.0 * row.share,
                row.gmacs,
                100.0 * row.of_peak,
                row.weight_bytes as f64 / 1e3,
                row.kernel
            ))?;
        }
        Ok(())
    };
    if by_op {
        table("operation", &report.by_op)?;
    }
    table("layer", &report.by_layer)?;
    table("kind", &report.by_kind)?;
    table("sum", std::slice::from_ref(&report.all))?;
    output.line(format_args!("{:44} {:>25.1}%", "outside operations", 100.0 * report.unexplained_share))
}

fn compare(before: &Path, after: &Path, global: &Global) -> Result<(), Failure> {
    let found = diff(&read(before)?, &read(after)?);
    let mut output = Output::stdout(global);
    if output.format() == Format::Json {
        output.json(&found)?;
        return output.flush();
    }
    output.line(format_args!(
        "wall time x {:.3}, drift of all operations x {:.3}",
        found.wall_ratio, found.drift
    ))?;
    if found.changes.is_empty() {
        output.line(format_args!("no operation changed"))?;
    }
    for c in &found.changes {
        let percent = 100.0 * (c.ratio - 1.0);
        output.line(format_args!(
            "{percent:+6.1}%  {:.1} -> {:.1} us  p {:.1e}  {}",
            c.before_us, c.after_us, c.p_value, c.name
        ))?;
    }
    for name in &found.unmatched {
        output.line(format_args!("only in one profile: {name}"))?;
    }
    output.flush()
}

fn read(path: &Path) -> Result<Profile, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::Input(format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text).map_err(|e| json_error(path, e))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| Failure::Output { place: path.display().to_string(), source })
}

fn json_error(path: &Path, source: serde_json::Error) -> Failure {
    mobilebert::Error::from(ErrorKind::Json { file: path.display().to_string(), source }).into()
}
