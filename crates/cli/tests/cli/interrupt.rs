//! Ctrl-C, and how far a long search is.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::{Duration, Instant};

use crate::support::{QUESTION, command, run, tiny, write};

/// A context of 2 MB takes a minute and more; one pass of it takes a fraction of a second.
#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_long_search_between_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", "It was built by Ada in London. ".repeat(65_000));
    let args = [&QUESTION[..], &["--context-file", &context, "--progress", "--json"]].concat();
    let mut child = command(&args).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert_eq!(line, "reading 2 MB\n");
    line.clear();
    errors.read_line(&mut line).unwrap();
    assert!(line.contains(" windows (1 %)"), "{line}");

    let interrupt = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let pressed = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(pressed.elapsed() < Duration::from_secs(10), "{:?}", pressed.elapsed());
    let (mut rest, mut output) = (String::new(), String::new());
    errors.read_to_string(&mut rest).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
    let last = rest.lines().last().unwrap();
    assert!(last.starts_with("mobilebert: cancelled after ") && last.ends_with(" sequences"), "{rest}");
}

#[test]
fn progress_is_written_if_asked_for() {
    let context = "anna works in paris and the king wrote a book ".repeat(100);
    let model = tiny("mobilebert-f32");
    let args = ["answer", "--model", &model, "--question", "who ?", "--context", &context];
    let silent = run(&args);
    assert_eq!((silent.code, silent.stderr.as_str()), (0, ""));
    let told = run(&[&args[..], &["--progress"]].concat());
    assert_eq!((told.code, &told.stdout), (0, &silent.stdout));
    let lines: Vec<&str> = told.stderr.lines().collect();
    assert!(lines.len() > 1, "{lines:?}");
    assert!(lines.last().unwrap().ends_with(" windows (100 %)"), "{lines:?}");
}
