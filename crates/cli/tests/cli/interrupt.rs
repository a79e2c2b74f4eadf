//! Ctrl-C, and how far a long search is.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{QUESTION, command, finished, run, tiny, write};

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

/// Presses Ctrl-C, or another key that sends a signal.
#[cfg(unix)]
fn press(child: &Child, signal: &str) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Starts to write vectors beside `texts`, and waits until the output is under construction.
#[cfg(unix)]
fn embedding(folder: &Path, args: &[&str], model: &str) -> Child {
    let output = folder.join("x.npy").display().to_string();
    let args = [&["embed", "--model", model, "--quiet", "--output", &output], args].concat();
    let child = command(&args).stdin(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let name = format!(".x.npy.{}-0.partial", child.id());
    while !partial(folder).contains(&name) {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing is written");
        sleep(Duration::from_millis(10));
    }
    // The handlers are installed right behind.
    sleep(Duration::from_millis(500));
    child
}

/// The names of what is under construction in a folder.
#[cfg(unix)]
fn partial(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".partial")).collect()
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_part_of_a_file_behind() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("mobilebert-f32");
    let input =
        write(folder.path(), "in.txt", "anna works in paris and the king wrote a book\n".repeat(2_000_000));
    for args in [&["--input", &input][..], &["-"]] {
        let mut child = embedding(folder.path(), args, &model);
        // The pipe stays open, so that a command that reads from it would wait.
        let stdin = child.stdin.take().unwrap();
        press(&child, "INT");
        let stopped = finished(child.wait_with_output().unwrap());
        assert_eq!(stopped.code, 130, "{args:?}: {}", stopped.stderr);
        assert!(stopped.stderr.starts_with("mobilebert: cancelled after "), "{}", stopped.stderr);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{:?}", partial(folder.path()));
        drop(stdin);
    }
}

/// SIGTERM is what `timeout` and containers send.
#[cfg(unix)]
#[test]
fn termination_leaves_no_part_of_a_file_behind() {
    use std::os::unix::process::ExitStatusExt as _;

    let folder = tempfile::tempdir().unwrap();
    let child = embedding(folder.path(), &["-"], &tiny("mobilebert-f32"));
    press(&child, "TERM");
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.signal(), Some(15), "{stopped:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{:?}", partial(folder.path()));
}

#[cfg(unix)]
#[test]
fn signals_leave_no_part_of_a_model_behind() {
    use std::os::unix::process::ExitStatusExt as _;

    let folder = tempfile::tempdir().unwrap();
    // The folder is under construction while the int8 model is scored, which takes as long as scoring the other.
    let rows = format!("text\tlabel\n{}", "good film\tpositive\nbad day\tnegative\n".repeat(10_000));
    let data = write(folder.path(), "dev.tsv", rows);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let to = out.join("int8").display().to_string();
    let model = tiny("bert-f32");
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let args = ["quantize", &model, &to, "--task", "classify", "--data", &data, "--max-drop", "100"];
        let child = command(&args).spawn().unwrap();
        let began = Instant::now();
        while partial(&out).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(120), "nothing is written");
            sleep(Duration::from_millis(10));
        }
        press(&child, signal);
        let stopped = child.wait_with_output().unwrap();
        assert_eq!(stopped.status.signal(), Some(number), "{stopped:?}");
        let told = String::from_utf8_lossy(&stopped.stderr);
        assert!(told.contains("stopped; what was under construction has been removed"), "{told}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "{:?}", partial(&out));
    }
}

#[cfg(unix)]
#[test]
fn what_a_killed_run_leaves_behind_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny("mobilebert-f32");
    let mut killed = embedding(folder.path(), &["-"], &model);
    press(&killed, "KILL");
    killed.wait().unwrap();
    assert_eq!(partial(folder.path()).len(), 1);
    let mut running = embedding(folder.path(), &["-"], &model);
    let names = partial(folder.path());
    assert!(names.len() == 1 && names[0].contains(&running.id().to_string()), "{names:?}");
    let output = folder.path().join("x.npy").display().to_string();
    assert_eq!(run(&["embed", "--model", &model, "--quiet", "--output", &output, "anna"]).code, 0);
    assert_eq!(partial(folder.path()), names, "that of a run that goes on stays");
    drop(running.stdin.take());
    assert!(running.wait().unwrap().success());
    assert_eq!(partial(folder.path()).len(), 0);
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
