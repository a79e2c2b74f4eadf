//! `mobilebert-bench`: measures a model on the device that it will run on.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use mobilebert::{Engine, EngineOptions, Error, ErrorKind, Precision, Result};
use mobilebert_bench::{DEFAULT_MODEL, Runs, Tables, check_threads, latency, operations};

/// Measure how fast a model runs on this machine, in total or by operation
///
/// Sequences are not padded. The headline is withheld while the quartiles of the runs are more than 10 %
/// apart, and of fewer than 6 runs.
#[derive(Debug, Parser)]
#[command(name = "mobilebert-bench", version)]
struct Args {
    /// Folder of the model. Without it: MobileBERT's shape, with weights from a formula
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_MODEL)]
    model: String,
    /// Tokens of each sequence, up to the model's limit
    #[arg(long, value_name = "N", default_value_t = 128)]
    seq_len: usize,
    /// Sequences in a pass; with --profile always 1
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "profile")]
    batch: usize,
    /// Number of threads. Default: one for each processor
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Arithmetic: int8, bf16 or f32. Default: int8 if the weights are int8, else f32
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    /// Timed passes at least
    #[arg(long, value_name = "N", default_value_t = 50)]
    num_runs: u32,
    /// Passes before the timed ones
    #[arg(long, value_name = "N", default_value_t = 5)]
    warmup_runs: u32,
    /// Seconds of timed passes at least
    #[arg(long, value_name = "S", default_value_t = 2.0, conflicts_with = "profile")]
    min_secs: f64,
    /// Seconds after which no further pass begins
    #[arg(long, value_name = "S", default_value_t = 150.0, conflicts_with = "profile")]
    max_secs: f64,
    /// Show where the time goes, operation by operation
    #[arg(long)]
    profile: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let text = match measured(&args) {
        Ok(text) => text,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "mobilebert-bench: {}", described(&error));
            return ExitCode::FAILURE;
        }
    };
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe because it has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "mobilebert-bench: standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Describes an error. Options of the library are flags here.
fn described(error: &Error) -> String {
    let message = match error.kind() {
        ErrorKind::Option { option, expected, found } => {
            format!("--{} is {found}; expected {expected}", option.replace('_', "-"))
        }
        _ => error.to_string(),
    };
    error.with_causes(message)
}

/// Measures, and returns what is printed.
fn measured(args: &Args) -> Result<String> {
    check_threads(args.threads)?;
    let mut options = EngineOptions::new();
    if let Some(threads) = args.threads {
        options = options.threads(threads);
    }
    if let Some(precision) = args.precision {
        options = options.precision(precision);
    }
    let (warmup_runs, num_runs) = (args.warmup_runs as usize, args.num_runs as usize);
    if args.profile {
        let engine = Engine::open(&args.model, options)?;
        let found = operations(&engine, args.seq_len, warmup_runs, num_runs)?;
        return match args.json {
            true => json(&found.profile),
            false => Ok(Tables { report: &found.profile.report(), by_op: true }.to_string()),
        };
    }
    let runs = Runs {
        seq_len: args.seq_len,
        batch: args.batch,
        warmup_runs,
        num_runs,
        min_secs: args.min_secs,
        max_secs: args.max_secs,
    };
    let found = latency(&args.model, options, &runs)?;
    if args.json { json(&found) } else { Ok(found.to_string()) }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    let failed = |source| ErrorKind::Json { file: "output".to_owned(), source };
    serde_json::to_string(value).map_err(|error| Error::from(failed(error)))
}
