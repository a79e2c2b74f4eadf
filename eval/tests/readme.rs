//! Runs the commands of the documentation as they are printed, in a copy of the folders that they name, and
//! compares what they print.
//!
//! The rules for documents:
//!
//! - Every command of a fenced `sh` block is run, in order; a line that ends in `\` goes on in the next one.
//!   `cargo run --release -- ...` is run as `mobilebert ...`, and with `-p mobilebert-eval` as
//!   `mobilebert-eval ...`. All commands of a document share a folder, so a command may read what an earlier
//!   one wrote.
//! - A fenced `text` block right below an `sh` block is what its commands print, without messages on standard
//!   error. `...` in a line stands for any text, and a line of only `...` for any lines. Results in int8 have
//!   the same bits on every CPU, so they are compared exactly; times and machines are written as `...`.
//! - A block below a comment `<!-- not run: REASON -->` is skipped, and so are commands that install, build or
//!   check. `<!-- needs candle -->` marks a block that is run if the command was built with that feature.
//!   What is skipped is listed.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The documents whose commands are run.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/evaluation.md"];
/// What a fresh clone has and commands read. They get a copy, because they may write.
const FOLDERS: [&str; 6] = [
    "eval/samples",
    "models/qa",
    "models/sentiment",
    "models/ner",
    "tests/golden/checkpoints",
    "tests/golden/convert",
];
/// The sources of the command `mobilebert`.
const SOURCES: [&str; 5] =
    ["src", "crates/kernels/src", "crates/tools/src", "crates/bench/src", "crates/cli/src"];
/// Commands that are about building and checking.
const NOT_RUN: [&str; 5] = ["cargo install", "cargo test", "cargo build", "./check", "rustup"];

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A fenced block of commands.
#[derive(Debug, Default, PartialEq)]
struct Block {
    /// The line of the first command, counted from 1.
    line: usize,
    commands: Vec<String>,
    /// What they print; `None` if the document does not say.
    output: Option<String>,
    /// The reason why it is not run.
    not_run: Option<String>,
    needs_candle: bool,
}

/// Reads the `sh` blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = document.lines().enumerate().collect::<VecDeque<_>>();
    let mut next = Block::default();
    // Whether only blank lines lie between the last `sh` block and here.
    let mut follows = false;
    while let Some((i, line)) = lines.pop_front() {
        let body = |lines: &mut VecDeque<(usize, &str)>| {
            let mut text = String::new();
            while let Some((_, line)) = lines.pop_front().filter(|(_, line)| !line.starts_with("```")) {
                text += line;
                text.push('\n');
            }
            text
        };
        if let Some(reason) = line.strip_prefix("<!-- not run: ") {
            next.not_run = Some(reason.trim_end_matches("-->").trim().to_owned());
        } else if line.starts_with("<!-- needs candle -->") {
            next.needs_candle = true;
        } else if line == "```sh" {
            let text = body(&mut lines).replace("\\\n", " ");
            let commands =
                text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let commands = commands.map(str::to_owned).collect();
            blocks.push(Block { line: i + 2, commands, ..std::mem::take(&mut next) });
            follows = true;
            continue;
        } else if let Some(language) = line.strip_prefix("```") {
            let text = body(&mut lines);
            if language == "text"
                && follows
                && let Some(block) = blocks.last_mut()
            {
                block.output = Some(text);
            }
        } else if line.is_empty() {
            continue;
        }
        follows = false;
    }
    blocks
}

/// Whether a text has the form of a sample; see the rules above. The error names the first line that differs.
fn compare(sample: &str, found: &str) -> Result<(), String> {
    fn line_fits(sample: &str, found: &str) -> bool {
        let Some((first, rest)) = sample.split_once("...") else { return sample == found };
        let Some(mut found) = found.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = rest.split("...").collect();
        let last = parts.pop().unwrap_or_default();
        for part in parts {
            let Some(at) = found.find(part) else { return false };
            found = &found[at + part.len()..];
        }
        found.ends_with(last)
    }
    fn fit(sample: &[&str], found: &[&str]) -> Result<(), String> {
        match (sample, found) {
            ([], []) => Ok(()),
            (["..."], _) => Ok(()),
            (["...", rest @ ..], _) => {
                match (0..=found.len()).find(|&skip| fit(rest, &found[skip..]).is_ok()) {
                    Some(_) => Ok(()),
                    None => Err(format!("no lines like `{}` to the end", rest.join("\n"))),
                }
            }
            ([expected, ..], []) => Err(format!("missing line `{expected}`")),
            ([], [line, ..]) => Err(format!("line `{line}` is not in the sample")),
            ([expected, sample @ ..], [line, found @ ..]) => match line_fits(expected, line) {
                true => fit(sample, found),
                false => Err(format!("expected `{expected}`\n   found `{line}`")),
            },
        }
    }
    fit(&sample.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The command as it is run, where the binaries are on the path.
fn as_run(command: &str) -> String {
    command
        .replace("cargo run --release -p mobilebert-eval -- ", "mobilebert-eval ")
        .replace("cargo run --release -- ", "mobilebert ")
}

/// Whether a command is as new as its sources. Cargo builds only the evaluator for its tests, so another command
/// in its folder may be of an earlier state. The error is the rest of a sentence.
fn is_up_to_date(command: &Path, sources: &[PathBuf]) -> Result<(), String> {
    let made = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let Some(built) = made(command) else { return Err("which is not built".to_owned()) };
    let mut folders = sources.to_vec();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_source = path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs");
            if path.is_dir() {
                folders.push(path);
            } else if is_source && made(&path).is_none_or(|changed| changed > built) {
                return Err(format!("which is older than {}", path.display()));
            }
        }
    }
    Ok(())
}

#[test]
fn commands_older_than_their_sources_are_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let (command, sources) = (folder.path().join("command"), folder.path().join("src"));
    let make = |path: &Path, seconds: u64| {
        let file = fs::File::create(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    fs::create_dir_all(sources.join("room")).unwrap();
    let check = || is_up_to_date(&command, std::slice::from_ref(&sources));
    assert_eq!(check(), Err("which is not built".to_owned()));
    for (path, seconds) in [(&command, 2), (&sources.join("a.rs"), 1), (&sources.join("room/tests.rs"), 3)] {
        make(path, seconds);
    }
    assert_eq!(check(), Ok(()));
    make(&sources.join("room/b.rs"), 3);
    assert!(check().unwrap_err().ends_with("b.rs"));
}

#[test]
fn commands_run_as_printed() {
    if cfg!(not(unix)) {
        eprintln!("SKIPPED: the commands of the documentation need a POSIX shell");
        return;
    }
    let evaluator = Path::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
    let binaries = evaluator.parent().unwrap();
    let sources = SOURCES.map(|folder| root().join(folder));
    if let Err(problem) = is_up_to_date(&binaries.join("mobilebert"), &sources) {
        let fix = "build both: cargo test --workspace";
        eprintln!("SKIPPED: the commands of the documentation need the command mobilebert, {problem}; {fix}");
        return;
    }
    let mut path = std::ffi::OsString::from(binaries);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let shell = |folder: &Path, command: &str| {
        let mut shell = Command::new("sh");
        shell.current_dir(folder).env("PATH", &path).env("HOME", folder).env_remove("XDG_CACHE_HOME");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MOBILEBERT_") {
                shell.env_remove(name);
            }
        }
        shell.args(["-c", command]).output().unwrap()
    };
    let help = shell(&root(), "mobilebert finetune none none --task sst2 --data none");
    let has_candle = !String::from_utf8_lossy(&help.stderr).contains("feature `candle`");

    let (mut failures, mut skipped, mut run) = (Vec::new(), Vec::new(), 0);
    for name in DOCUMENTS {
        let folder = tempfile::tempdir().unwrap();
        for part in FOLDERS {
            copy(&root().join(part), &folder.path().join(part));
        }
        for block in blocks(&fs::read_to_string(root().join(name)).unwrap()) {
            let place = format!("{name}, line {}", block.line);
            let reason = match &block.not_run {
                Some(reason) => Some(reason.clone()),
                None if block.needs_candle && !has_candle => Some("needs the feature candle".to_owned()),
                None => None,
            };
            let (mut output, mut complete) = (String::new(), true);
            for command in &block.commands {
                let builds = NOT_RUN.iter().any(|start| command.starts_with(start));
                let reason = reason.clone().or_else(|| builds.then(|| "builds or checks".to_owned()));
                if let Some(reason) = reason {
                    skipped.push(format!("{place}: {reason}: {command}"));
                    continue;
                }
                run += 1;
                let result = shell(folder.path(), &as_run(command));
                output += &String::from_utf8_lossy(&result.stdout);
                if !result.status.success() {
                    let stderr = String::from_utf8_lossy(&result.stderr);
                    failures.push(format!("{place}: {command}\n{}: {stderr}", result.status));
                    complete = false;
                }
            }
            let sample = block.output.as_ref().filter(|_| complete && reason.is_none());
            if let Some(Err(problem)) = sample.map(|sample| compare(sample, &output)) {
                failures.push(format!("{place}: other output than printed: {problem}\nall of it:\n{output}"));
            }
        }
    }
    for line in &skipped {
        eprintln!("SKIPPED: {line}");
    }
    assert!(run > 20, "only {run} commands were found");
    assert!(failures.is_empty(), "{} of {run} commands:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn blocks_by_hand() {
    let text = "a\n```sh\none \\\n  --two\n# comment\n\nthree\n```\n\n```text\nout\n```\n<!-- not run: slow -->\n```sh\nx\n```\ntext\n```text\nno output\n```\n";
    let found = blocks(text);
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].line, &found[0].commands[..]),
        (3, &["one    --two".to_owned(), "three".to_owned()][..])
    );
    assert_eq!((found[0].output.as_deref(), found[1].output.as_deref()), (Some("out\n"), None));
    assert_eq!(found[1].not_run.as_deref(), Some("slow"));
}

#[test]
fn samples_by_hand() {
    for (sample, found, fits) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\nb\n", "a\nc\n", false),
        ("a\n", "a\nb\n", false),
        ("a\nb\n", "a\n", false),
        ("a ... ms\n", "a 12.5 ms\n", true),
        ("a ... ms\n", "a 12.5 s\n", false),
        ("a ... b ... c", "a 1 b 2 c", true),
        ("a ... b ... c", "a 1 c", false),
        ("a\n...\nz\n", "a\nb\nc\nz\n", true),
        ("a\n...\n", "a\nb\nc\n", true),
        ("a\n...\nz\n", "a\nb\nc\n", false),
    ] {
        assert_eq!(compare(sample, found).is_ok(), fits, "{sample:?} {found:?}");
    }
}
