//! The command `mobilebert-eval`: measures how accurate, fast and large a model is, and compares it with
//! others.

mod args;
mod certify;
mod date;
mod debug;
mod evaluate;
mod failure;
mod inputs;
mod interrupt;
mod latency;
mod layers;
mod load;
mod log;
mod predictions;
mod report;
mod tasks;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::failure::{Failure, USAGE};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // An error here means that nobody reads the output, so there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match run(&args.command) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Certify(args) => return certify::run(args),
        Command::Latency(args) => latency::run(args),
        Command::Report(args) => report::run(args),
        Command::Debug(args) => debug::run(args),
        Command::Tasks => tasks::run(),
        other => evaluate::run(other),
    }?;
    Ok(ExitCode::SUCCESS)
}
