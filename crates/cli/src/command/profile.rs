//! `mobilebert profile` and `mobilebert profile diff`

use std::fs;
use std::path::{Path, PathBuf};

use mobilebert::profile::{Profile, diff};
use mobilebert::{Engine, ErrorKind, Result};
use mobilebert_bench::{DEFAULT_MODEL, Tables, operations};
use mobilebert_tools::outputs;

use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

pub(super) fn run(args: &args::Profile, global: &Global) -> Result<(), Failure> {
    match &args.command {
        Some(args::ProfileCommand::Diff(files)) => compare(&files.before, &files.after, global),
        None => measure(args, global),
    }
}

fn measure(args: &args::Profile, global: &Global) -> Result<(), Failure> {
    let written: Vec<&Path> = [&args.trace, &args.save].into_iter().flatten().map(PathBuf::as_path).collect();
    outputs::check(&written, &[], Some(global.model(DEFAULT_MODEL)))?;
    let engine = Engine::open(global.model(DEFAULT_MODEL), global.engine())?;
    let found = operations(&engine, args.seq_len, args.warmup_runs, args.num_runs)?;
    if let Some(path) = &args.trace {
        write(path, &found.trace().to_string())?;
    }
    if let Some(path) = &args.save {
        write(path, &serde_json::to_string(&found.profile).map_err(|e| json_error(path, e))?)?;
    }
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&found.profile)?,
        Format::Human | Format::Table => {
            let (model, backend) = (global.model(DEFAULT_MODEL), engine.backend());
            output.line(format_args!("{model}, {} {}", backend.name(), backend.precision()))?;
            let tables = Tables { report: &found.profile.report(), by_op: args.by_op };
            output.line(format_args!("{tables}"))?;
        }
    }
    output.flush()
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
    for difference in &found.unlike {
        output.line(format_args!("the profiles are of different runs: {difference}"))?;
    }
    if found.too_few_passes {
        output.line(format_args!(
            "too few passes to tell whether an operation changed; save profiles of more"
        ))?;
    } else if found.changes.is_empty() {
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
