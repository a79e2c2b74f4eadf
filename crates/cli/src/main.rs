//! The `mobilebert` command reads arguments, runs pipelines and prints lines. Libraries never print.

mod ahead;
mod args;
mod batch;
mod command;
mod failure;
mod input;
mod output;
mod reader;
mod signals;
mod table;
mod target;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use command::external::Program;
use failure::Failure;

fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the command that the arguments ask for; the first one is the program's name.
fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The server and the SQL shell have flags of their own, which this parser does not know.
    if let [_, command, flags @ ..] = arguments.as_slice()
        && let Some(program) = Program::of(command)
    {
        return program.run(flags).err().map_or(ExitCode::SUCCESS, |failure| failure.report());
    }
    let args = match args::Args::parse_from_os(arguments) {
        Ok(args) => args,
        Err(error) => {
            // The text of `--help` and `--version` is the result of the command, so it goes to standard
            // output. Complaints go to standard error.
            let printed = error.print().and_then(|()| io::stdout().flush());
            if let (Err(source), false) = (printed, error.use_stderr()) {
                return Failure::Output { place: "stdout".to_owned(), source }.report();
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    match command::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
