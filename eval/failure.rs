//! The reasons why a command fails, and their exit codes.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use mobilebert::{Error, ErrorKind};
use mobilebert_tools::outputs::OutputProblem;

/// Exit code for inputs, models and targets that fail.
pub(crate) const FAILED: u8 = 1;
/// Exit code for wrong usage; clap uses the same number.
pub(crate) const USAGE: u8 = 2;

/// Exit code of a run that Ctrl-C stopped, as shells count it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the library.
    Library(Error),
    /// Flags that do not go together, found after parsing.
    Usage(String),
    /// A file with unexpected contents.
    Input(String),
    /// Ctrl-C stopped the run.
    Interrupted(String),
    /// Standard output or an output file could not be written.
    Output { place: String, source: io::Error },
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
        Failure::Library(error)
    }
}

impl Failure {
    /// A file that cannot be written.
    pub(crate) fn output(path: &Path, source: io::Error) -> Self {
        Failure::Output { place: path.display().to_string(), source }
    }

    /// Prints the message for the user, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Failure::Output { source, .. } = self
            && source.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let (message, code) = match self {
            Failure::Library(error) => {
                let usage = matches!(error.kind(), ErrorKind::Option { .. });
                (error.with_causes(error.to_string()), if usage { USAGE } else { FAILED })
            }
            Failure::Usage(message) => (message.clone(), USAGE),
            Failure::Input(message) => (message.clone(), FAILED),
            Failure::Interrupted(message) => (message.clone(), INTERRUPTED),
            Failure::Output { place, source } => (format!("{place}: {source}"), FAILED),
        };
        let _ = writeln!(io::stderr().lock(), "mobilebert-eval: {message}");
        ExitCode::from(code)
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| Failure::Output { place: "stdout".to_owned(), source })
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::output(path, source))
}
