//! Why a command ended early, and the exit code that says so.

use std::io::{self, Write as _};
use std::process::ExitCode;

use mobilebert::kernels::OVERRIDE;
use mobilebert::{Error, ErrorKind};

use super::args::is_flag;

/// Exit code: some input or the model failed.
const FAILED: u8 = 1;
/// Exit code: wrong usage. The same number as clap's.
pub(super) const USAGE: u8 = 2;

/// Exit code: a model does not hold its gate.
const GATE: u8 = 3;

/// Exit code: the user pressed Ctrl-C. What shells give for a program that the signal ended: 128 and its
/// number, 2.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command could not do all of its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library said no.
    Model(Error),
    /// Flags that do not go together, found after parsing.
    Usage(String),
    /// A file cannot be read as what it should be.
    Input(String),
    /// Standard output or an output file.
    Output { place: String, source: io::Error },
    /// Each of these was reported in the output, in its place.
    Records { failed: usize, total: usize },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Model(error)
    }
}

impl Failure {
    /// Tells the user, and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        if let Failure::Output { source, .. } = self
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            // The reader has seen enough, as `head` does.
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

/// A flag's value that no model, or not this one, can work with.
fn is_usage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Option { .. })
}

/// Whether the user has stopped the command.
pub(super) fn is_cancelled(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Cancelled { .. })
}

/// How the command line writes an option of the library.
fn flag(option: &str) -> String {
    let long = option.replace('_', "-");
    match option {
        _ if is_flag(&long) => format!("--{long}"),
        "kernels" => OVERRIDE.to_owned(),
        other => format!("`{other}`"),
    }
}

/// A message of the library with the options that it names as flags.
fn with_flags(message: &str) -> String {
    let part = |(i, part): (usize, &str)| if i % 2 == 1 { flag(part) } else { part.to_owned() };
    message.split('`').enumerate().map(part).collect()
}

/// How to build the command with the feature `candle`.
pub(super) const WITH_CANDLE: &str = "`cargo run --release --features candle -- ...` in a checkout, or `cargo install \
                                      --path crates/cli --features candle`";

/// The error in the words of the command line, and those of its sources that add something.
pub(super) fn describe(error: &Error) -> String {
    let message = match error.kind() {
        ErrorKind::Option { option, expected, found } => {
            let places: String = error.context().map(|place| format!("{place}: ")).collect();
            format!("{places}{} is {found}; expected {}", flag(option), with_flags(expected))
        }
        ErrorKind::TooLong { .. } => with_flags(&error.to_string()),
        ErrorKind::NotBuilt { what, feature: "candle" } => {
            format!("{what} is not part of this build; the feature `candle` brings it: {WITH_CANDLE}")
        }
        _ => error.to_string(),
    };
    error.with_causes(message)
}
