//! Standard input and output as pipes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::{command, finished, run, write};

#[test]
fn ten_megabytes_on_one_line() {
    let line = "The quick brown fox jumps over the lazy dog. ".repeat(10 * 1024 * 1024 / 45);
    let words = 10 * (line.len() / 45) + 2;
    let mut child = command(&["tokenize", "--json", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(line.as_bytes()));
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    let ids = output.strip_prefix("{\"ids\":[").and_then(|rest| rest.split_once(']')).unwrap().0;
    assert_eq!((output.lines().count(), ids.split(',').count()), (1, words));
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let mut child = command(&["tokenize", "--json", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all("hello\n".repeat(200_000).as_bytes()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"ids\":[101,7592,102]"));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    // The command no longer reads.
    let _ = writer.join().unwrap();
}

#[test]
fn an_answer_comes_before_the_next_line() {
    let mut child = command(&["classify", "-", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        stdin.write_all(b"a joy to watch\n").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("positive"));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_file_gives_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (1..70).map(|i| "a joy to watch ".repeat(i % 7 + 1) + "\n").collect();
    let input = PathBuf::from(write(folder.path(), "in.txt", lines));
    let from_file = run(&["classify", "--json", "--input", &input.display().to_string()]);
    let mut stdin = command(&["classify", "--json", "-"]);
    let from_stdin = finished(stdin.stdin(std::fs::File::open(&input).unwrap()).output().unwrap());
    assert_eq!((from_file.code, from_file.lines().len()), (0, 69));
    assert_eq!(from_file.stdout, from_stdin.stdout);
}
