//! Runs the command, and reads what it wrote.

#[path = "../../../../tests/support/hard.rs"]
mod hard;

pub(crate) use hard::hard_model;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) const QUESTION: [&str; 3] = ["answer", "--question", "Who built it?"];

pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Each line of the output as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one line of the output, of a run without complaints.
    pub(crate) fn line(&self) -> Value {
        assert_eq!(
            (self.code, self.stderr.as_str(), self.stdout.lines().count()),
            (0, "", 1),
            "{}",
            self.stdout
        );
        self.lines().remove(0)
    }

    pub(crate) fn failed(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(message), "{message:?} in {:?}", self.stderr);
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOBILEBERT_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn finished(output: Output) -> Run {
    Run {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn run(args: &[&str]) -> Run {
    finished(command(args).output().unwrap())
}

/// With `input` through a pipe.
pub(crate) fn piped(args: &[&str], input: impl Into<Vec<u8>>) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.into();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let run = finished(child.wait_with_output().unwrap());
    // A command that fails at once reads nothing.
    let _ = writer.join().unwrap();
    run
}

pub(crate) fn tiny(name: &str) -> String {
    format!("tests/golden/checkpoints/{name}")
}

pub(crate) fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
