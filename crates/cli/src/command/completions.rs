//! `mobilebert completions`

use clap::CommandFactory as _;

use crate::args::{self, Args, Global};
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn run(args: &args::Completions, global: &Global) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "mobilebert", &mut script);
    let mut output = Output::stdout(&Global { json: false, ..global.clone() });
    output.line(format_args!("{}", String::from_utf8_lossy(&script).trim_end()))?;
    output.flush()
}
