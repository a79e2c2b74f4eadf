//! Flags of the commands that measure.

use std::path::PathBuf;

use clap::Subcommand;

use super::{at_least, up_to};

pub(super) const EXAMPLE_BENCH: &str = "\
Example:
  $ mobilebert bench --model synthetic:mobilebert --precision int8 \\
      --seq-len 128 --threads 2 --json
  {...,\"p50_ms\":12.1,\"load_ms\":80.2,\"peak_rss_mb\":52.1,...}

Sequences are not padded. The headline is withheld while the quartiles of
the runs are more than 10 % apart, and of fewer than 6 runs.";

pub(super) const EXAMPLE_PROFILE: &str = "\
Examples:
  $ mobilebert profile --model sentiment --seq-len 128 --threads 1
  $ mobilebert profile --save before.json
  $ mobilebert profile --save after.json
  $ mobilebert profile diff before.json after.json

Shares are of the time of all threads. `diff` reports an operation if a rank
test over the runs leaves less than 1 % chance of any false alarm.";

pub(super) const EXAMPLE_KERNELS: &str = "\
Example:
  $ mobilebert kernels
  $ MOBILEBERT_KERNELS=avx2 mobilebert bench --precision int8";

/// The largest number of timed passes. It is bounded because each pass leaves a record.
const MAX_RUNS: usize = 1_000_000;

/// `mobilebert bench`
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Tokens of each sequence, up to the model's limit
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// Sequences in a pass, of 65,536 tokens together at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) batch: usize,
    /// Timed passes at least
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = up_to(0, MAX_RUNS))]
    pub(crate) num_runs: usize,
    /// Passes before the timed ones
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = up_to(0, MAX_RUNS))]
    pub(crate) warmup_runs: usize,
    /// Seconds of timed passes at least
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = at_least(0.0))]
    pub(crate) min_secs: f64,
    /// Seconds after which no further pass begins
    #[arg(long, value_name = "S", default_value_t = 150.0, value_parser = at_least(0.0))]
    pub(crate) max_secs: f64,
}

/// `mobilebert profile`
#[derive(Debug, clap::Args)]
pub(crate) struct Profile {
    #[command(subcommand)]
    pub(crate) command: Option<ProfileCommand>,
    /// Tokens of the sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// Recorded passes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = up_to(0, MAX_RUNS))]
    pub(crate) num_runs: usize,
    /// Passes before the recorded ones
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = up_to(0, MAX_RUNS))]
    pub(crate) warmup_runs: usize,
    /// List every operation
    #[arg(long)]
    pub(crate) by_op: bool,
    /// Write the last pass as a Chrome trace (chrome://tracing, Perfetto)
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the profile for `profile diff`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

/// What else to do with profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Compare two saved profiles
    Diff(ProfileFiles),
}

/// `mobilebert profile diff`
#[derive(Debug, clap::Args)]
pub(crate) struct ProfileFiles {
    /// Profile written with --save or --json
    #[arg(value_name = "BEFORE")]
    pub(crate) before: PathBuf,
    /// Profile written with --save or --json
    #[arg(value_name = "AFTER")]
    pub(crate) after: PathBuf,
}
