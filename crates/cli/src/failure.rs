//! The reasons why a command ends early, and the exit code of each.

use std::io::{self, Write as _};
use std::process::ExitCode;

use mobilebert::kernels::OVERRIDE;
use mobilebert::{Error, ErrorKind};
use mobilebert_tools::outputs::OutputProblem;

use super::args::is_flag;

/// Exit code: some input or the model failed.
const FAILED: u8 = 1;
/// Exit code: wrong usage. This is the number that clap uses.
pub(super) const USAGE: u8 = 2;

/// Exit code: a model does not hold its gate.
const GATE: u8 = 3;

/// Exit code: the user pressed Ctrl-C. Shells report 128 plus the number of the signal, which is 2.
pub(super) const INTERRUPTED: u8 = 130;

/// The reason why a command could not do all of its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library returned an error.
    Model(Error),
    /// Flags that do not go together. This is found after parsing.
    Usage(String),
    /// A file does not have the content that it should have.
    Input(String),
    /// Standard output or an output file cannot be written.
    Output { place: String, source: io::Error },
    /// Some inputs failed. Each failure was written to the output in place of its result.
    Records { failed: usize, total: usize },
}

impl From<OutputProblem> for Failure {
    fn from(problem: OutputProblem) -> Self {
        match problem {
            OutputProblem::Refused(message) => Failure::Usage(message),
            OutputProblem::Io { path, source } => {
                Failure::Output { place: path.display().to_string(), source }
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Model(error)
    }
}

impl Failure {
    /// Writes the message to standard error and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        if let Failure::Output { source, .. } = self
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            // The reader has closed the pipe because it has seen enough, as `head` does.
            return ExitCode::SUCCESS;
        }
        let (message, code) = match self {
            Failure::Model(error) if is_usage(error) => (describe(error), USAGE),
            Failure::Model(error) if matches!(error.kind(), ErrorKind::Gate { .. }) => {
                (describe(error), GATE)
            }
            Failure::Model(error) if is_cancelled(error) => (describe(error), INTERRUPTED),
            Failure::Model(error) => (describe(error), FAILED),
            Failure::Usage(message) => (message.clone(), USAGE),
            Failure::Input(message) => (message.clone(), FAILED),
            Failure::Output { place, source } => (format!("{place}: {source}"), FAILED),
            Failure::Records { failed, total } => (format!("{failed} of {total} inputs failed"), FAILED),
        };
        let mut stderr = io::stderr().lock();
        let _ = writeln!(stderr, "mobilebert: {message}");
        if code == USAGE {
            let _ = writeln!(stderr, "For more information, try '--help'.");
        }
        ExitCode::from(code)
    }
}

/// Writes a message to standard error. If that cannot be written, nobody has to be told.
pub(super) fn complain(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "mobilebert: {message}");
}

/// Returns true if the error is about the value of a flag, which is wrong usage.
fn is_usage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Option { .. })
}

/// Returns true if the user has stopped the command.
pub(super) fn is_cancelled(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Cancelled { .. })
}

/// Returns the name that the command line uses for an option of the library.
fn flag(option: &str) -> String {
    let long = option.replace('_', "-");
    match option {
        _ if is_flag(&long) => format!("--{long}"),
        "kernels" => OVERRIDE.to_owned(),
        other => format!("`{other}`"),
    }
}

/// Replaces the option names in a message of the library by the flags that set them.
fn with_flags(message: &str) -> String {
    let part = |(i, part): (usize, &str)| if i % 2 == 1 { flag(part) } else { part.to_owned() };
    message.split('`').enumerate().map(part).collect()
}

/// Returns instructions for building the command with a feature.
pub(super) fn with_feature(feature: &str) -> String {
    format!(
        "`cargo run --release --features {feature} -- ...` in a checkout, or `cargo install --path crates/cli \
         --features {feature}`"
    )
}

/// Returns the error in the words of the command line, followed by those of its causes that add something.
pub(super) fn describe(error: &Error) -> String {
    let message = match error.kind() {
        ErrorKind::Option { option, expected, found } => {
            let places: String = error.context().map(|place| format!("{place}: ")).collect();
            format!("{places}{} is {found}; expected {}", flag(option), with_flags(expected))
        }
        ErrorKind::TooLong { .. } => {
            let choice = "choose truncation or windows";
            with_flags(&error.to_string()).replace(choice, "see --long-text for truncation and windows")
        }
        ErrorKind::NotBuilt { what, feature: feature @ ("candle" | "parquet") } => {
            let how = with_feature(feature);
            format!("{what} is not part of this build; the feature `{feature}` brings it: {how}")
        }
        ErrorKind::Input { .. } => error.to_string().replace("or allow to replace it", "or pass --force"),
        _ => error.to_string(),
    };
    error.with_causes(message)
}
