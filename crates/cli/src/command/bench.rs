//! `mobilebert bench`

use mobilebert_bench::{DEFAULT_MODEL, Runs, latency};

use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

pub(super) fn run(args: &args::Bench, global: &Global) -> Result<(), Failure> {
    let runs = Runs {
        seq_len: args.seq_len,
        batch: args.batch,
        warmup_runs: args.warmup_runs,
        num_runs: args.num_runs,
        min_secs: args.min_secs,
        max_secs: args.max_secs,
    };
    let found = latency(global.model(DEFAULT_MODEL), global.engine(), &runs)?;
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&found)?,
        Format::Human | Format::Table => output.line(format_args!("{found}"))?,
    }
    output.flush()
}
