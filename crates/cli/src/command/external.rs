//! `mobilebert serve` and `mobilebert sql`: they hand over to programs of their own, so that those who do not need
//! them do not build them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// A program that a subcommand hands over to.
pub(crate) struct Program {
    /// The subcommand.
    command: &'static str,
    /// What the program is, in words.
    what: &'static str,
    /// Its name, which is also its package's.
    name: &'static str,
    /// How it is installed and built from a checkout.
    install: &'static str,
    build: &'static str,
}

/// The server.
pub(crate) const SERVE: Program = Program {
    command: "serve",
    what: "server",
    name: "mobilebert-serve",
    install: "cargo install --locked --path crates/serve",
    build: "cargo build --release -p mobilebert-serve",
};

/// The SQL shell.
pub(crate) const SQL: Program = Program {
    command: "sql",
    what: "SQL shell",
    name: "mobilebert-sql",
    install: "cargo install --locked --path crates/sql",
    build: "cargo build --release --manifest-path crates/sql/Cargo.toml -p mobilebert-sql",
};

impl Program {
    /// Returns the program of a subcommand.
    pub(crate) fn of(command: &OsStr) -> Option<&'static Self> {
        [&SERVE, &SQL].into_iter().find(|program| command == program.command)
    }

    /// Runs the program with these flags. Where the system can do that, this process becomes the program, so signals
    /// and exit codes are its own.
    pub(crate) fn run(&self, flags: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failure> {
        let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let Some(program) = self.find(beside.into_iter().chain(std::env::split_paths(&path))) else {
            let Self { what, name, install, build, .. } = self;
            return Err(Failure::Input(format!(
                "the {what} {name} is neither beside this program nor on PATH; install it from a checkout with \
                 `{install}`, or build it with `{build}`"
            )));
        };
        let mut command = Command::new(&program);
        command.args(flags);
        let problem = hand_over(&mut command);
        match problem {
            Some(source) => Err(Failure::Output { place: program.display().to_string(), source }),
            None => Ok(()),
        }
    }

    /// Makes the failure of flags in front of the subcommand, which would be the command's own and not reach the
    /// program.
    pub(crate) fn not_first(&self, flags: &[OsString]) -> Failure {
        let line: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
        let command = self.command;
        Failure::Usage(format!(
            "{command} has to be the first argument; its flags follow it: mobilebert {command} {}",
            if line.is_empty() { "FLAGS".into() } else { line.join(" ") }
        ))
    }

    /// Returns the first of these folders' programs that is there.
    fn find(&self, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
        let name = format!("{}{}", self.name, std::env::consts::EXE_SUFFIX);
        // A relative folder of PATH would be another one in another working directory.
        folders
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(&name))
            .find(|path| is_program(path))
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(unix)]
fn hand_over(command: &mut Command) -> Option<io::Error> {
    use std::os::unix::process::CommandExt as _;
    Some(command.exec())
}

#[cfg(not(unix))]
fn hand_over(command: &mut Command) -> Option<io::Error> {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => Some(error),
    }
}
