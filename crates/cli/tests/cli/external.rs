//! `mobilebert serve` and `mobilebert sql` find their programs, or say how to get them.

use std::fs;
use std::io;
use std::process::{Command, Output};

/// Puts the command into a folder, so that no program is beside it but one that the test puts there.
///
/// A file that this process has open for writing while another test starts a program is open in that program
/// too for a moment, and cannot be run meanwhile. So nothing is written here that is run.
fn alone() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let command = folder.path().join("mobilebert");
    let source = env!("CARGO_BIN_EXE_mobilebert");
    if fs::hard_link(source, &command).is_err() {
        // Not every file system has links.
        fs::copy(source, &command).unwrap();
    }
    (folder, command)
}

/// Runs a command, again if its file is open for writing elsewhere.
fn output(command: &mut Command) -> Output {
    let busy = |output: &io::Result<Output>| match output {
        Ok(output) => String::from_utf8_lossy(&output.stderr).contains("Text file busy"),
        Err(error) => error.kind() == io::ErrorKind::ExecutableFileBusy,
    };
    for _ in 0..1000 {
        let output = command.output();
        if !busy(&output) {
            return output.unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{command:?} stays open for writing");
}

/// The subcommands, their programs, and where those are installed from.
const PROGRAMS: [(&str, &str, &str); 2] =
    [("serve", "mobilebert-serve", "crates/serve"), ("sql", "mobilebert-sql", "crates/sql")];

#[test]
fn without_a_program_it_says_how_to_install_one() {
    for (subcommand, name, package) in PROGRAMS {
        let (folder, command) = alone();
        let output = output(Command::new(command).arg(subcommand).env("PATH", folder.path()));
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(problem.contains(&format!("cargo install --locked --path {package}`")), "{problem}");
        assert!(problem.contains(name), "{problem}");
    }
}

#[cfg(unix)]
#[test]
fn the_program_beside_it_wins_over_the_path_and_gets_all_flags() {
    for (subcommand, name, _) in PROGRAMS {
        let (folder, command) = alone();
        let elsewhere = tempfile::tempdir().unwrap();
        let program = |folder: &std::path::Path, place: &str| {
            let path = folder.join(name);
            // Another process writes it.
            let script = format!("#!/bin/sh\necho {place} \"$@\"\nexit 5\n");
            let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
            let written = Command::new("/bin/sh").arg("-c").arg(write).arg(path).arg(script).status();
            assert!(written.unwrap().success());
        };
        let run = || {
            let path = format!("{}:/usr/bin:/bin", elsewhere.path().display());
            let flags = [subcommand, "--model", "a=b", "--json", "-x", "--help"];
            let output = output(Command::new(&command).args(flags).env("PATH", path));
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        };
        program(elsewhere.path(), "path");
        assert_eq!(run(), ("path --model a=b --json -x --help\n".to_owned(), Some(5)), "{name}");
        program(folder.path(), "beside");
        assert_eq!(run(), ("beside --model a=b --json -x --help\n".to_owned(), Some(5)), "{name}");
    }
}

/// Flags in front of it are those of other commands. The program would never see them.
#[test]
fn flags_in_front_of_it_are_refused() {
    for flags in [
        &["--threads", "2", "serve"][..],
        &["--quiet", "serve", "--port", "80"],
        &["--threads", "2", "sql"],
        &["--quiet", "sql", "-c", "select 1"],
    ] {
        let (folder, command) = alone();
        let output = Command::new(command).args(flags).env("PATH", folder.path()).output().unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {problem}");
        assert!(
            problem.contains(" has to be the first argument; its flags follow it"),
            "{flags:?}: {problem}"
        );
    }
}
