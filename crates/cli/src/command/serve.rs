//! `mobilebert serve`: hands over to the server, which is a program of its own, so that those who do not need
//! it do not build it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// The name of the server's program.
const PROGRAM: &str = "mobilebert-serve";

/// Runs the server with these flags. Where the system can do that, this process becomes the server, so
/// signals and exit codes are its own.
pub(crate) fn run(flags: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failure> {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = find(beside.into_iter().chain(std::env::split_paths(&path))) else {
        return Err(Failure::Input(format!(
            "the server {PROGRAM} is neither beside this program nor on PATH; install it from a checkout with \
             `cargo install --locked --path crates/serve`, or build it with `cargo build --release -p {PROGRAM}`"
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

/// Makes the failure of flags in front of `serve`, which would be the command's own and not reach the server.
pub(crate) fn not_first(flags: &[OsString]) -> Failure {
    let line: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
    Failure::Usage(format!(
        "serve has to be the first argument; its flags follow it: mobilebert serve {}",
        if line.is_empty() { "FLAGS".into() } else { line.join(" ") }
    ))
}

/// Returns the first of these folders' programs that is there.
fn find(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    // A relative folder of PATH would be another one in another working directory.
    folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&name))
        .find(|path| is_program(path))
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
