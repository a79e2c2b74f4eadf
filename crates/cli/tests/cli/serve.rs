//! `mobilebert serve` finds the server's program, or says how to get it.

use std::fs;
use std::process::Command;

/// Copies the command into a folder, so that no server is beside it but one that the test puts there.
fn alone() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("mobilebert");
    fs::copy(env!("CARGO_BIN_EXE_mobilebert"), &command).unwrap();
    (folder, command)
}

#[test]
fn without_a_server_it_says_how_to_install_one() {
    let (folder, command) = alone();
    let output = Command::new(command).arg("serve").env("PATH", folder.path()).output().unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(problem.contains("cargo install --locked --path crates/serve"), "{problem}");
}

#[cfg(unix)]
#[test]
fn the_server_beside_it_wins_over_the_path_and_gets_all_flags() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, command) = alone();
    let elsewhere = tempfile::tempdir().unwrap();
    let program = |folder: &std::path::Path, name: &str| {
        let path = folder.join("mobilebert-serve");
        fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\nexit 5\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let run = || {
        let path = format!("{}:/usr/bin:/bin", elsewhere.path().display());
        let flags = ["serve", "--model", "a=b", "--json", "-x", "--help"];
        let output = Command::new(&command).args(flags).env("PATH", path).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    program(elsewhere.path(), "path");
    assert_eq!(run(), ("path --model a=b --json -x --help\n".to_owned(), Some(5)));
    program(folder.path(), "beside");
    assert_eq!(run(), ("beside --model a=b --json -x --help\n".to_owned(), Some(5)));
}

/// Flags in front of it are those of other commands. The server would never see them.
#[test]
fn flags_in_front_of_it_are_refused() {
    for flags in [&["--threads", "2", "serve"][..], &["--quiet", "serve", "--port", "80"]] {
        let (folder, command) = alone();
        let output = Command::new(command).args(flags).env("PATH", folder.path()).output().unwrap();
        let problem = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {problem}");
        assert!(
            problem.contains("serve has to be the first argument; its flags follow it"),
            "{flags:?}: {problem}"
        );
    }
}
