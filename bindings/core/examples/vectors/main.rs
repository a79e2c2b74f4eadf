//! Writes `bindings/vectors/*.json`: inputs, and the exact results that every binding must give.
//!
//! `cargo run -p mobilebert-bindings --example vectors` writes the files, `... -- --check` compares them with
//! what the engine computes now and changes nothing.

mod cases;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().skip(1).any(|argument| argument == "--check");
    let folder = folder();
    let mut wrong = Vec::new();
    for file in cases::files() {
        let path = folder.join(format!("{}.json", file.name));
        let text = run::written(&file);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        if old == text {
            continue;
        }
        wrong.push(format!("{} {}", path.display(), run::first_difference(&old, &text)));
        if !check && let Err(error) = std::fs::write(&path, text) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    for line in &wrong {
        println!("{} {line}", if check { "differs:" } else { "written:" });
    }
    if check && !wrong.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}
