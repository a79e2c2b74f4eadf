//! Standard input and output as pipes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Run, command, finished, run, write};

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

/// Waits for a command to end by itself, for ten seconds at most.
fn ends_soon(mut child: Child) -> Run {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("the command waits for its input");
        }
        sleep(Duration::from_millis(20));
    }
    finished(child.wait_with_output().unwrap())
}

#[test]
fn what_is_wrong_is_said_before_anything_comes_through_the_pipe() {
    for args in [
        &["classify", "-"][..],
        &["infer", "-"],
        &["embed", "-"],
        &["embed", "--input", "-", "--format", "jsonl"],
        &["tokenize", "--input", "-", "--format", "txt"],
    ] {
        let args = [args, &["--model", "/nope"]].concat();
        let mut child = command(&args).stdin(Stdio::piped()).spawn().unwrap();
        let open = child.stdin.take().unwrap();
        ends_soon(child).failed(1, "/nope");
        drop(open);
    }
}

/// Writes the parts of the input one after another, so that each is read on its own.
fn in_parts(args: &[&str], parts: &[&[u8]]) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for part in parts {
        stdin.write_all(part).unwrap();
        sleep(Duration::from_millis(200));
    }
    drop(stdin);
    finished(child.wait_with_output().unwrap())
}

#[test]
fn a_text_means_the_same_however_a_pipe_cuts_it() {
    let csv = ["tokenize", "--input", "-", "--format", "csv"];
    let wide = "x".repeat(10_000);
    for parts in [
        &["id;te", "xt\n1;a joy\n"][..],
        &["\n", "\r\nid;te", "xt\n1;a joy\n"],
        &[wide.as_str(), ";text\n1;a joy\n"],
        &["\u{feff}text;i", "d\na joy;1\n"],
    ] {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        let found = in_parts(&csv, &parts);
        assert_eq!((found.stdout.as_str(), found.stderr.as_str()), ("[CLS] a joy [SEP]\n", ""));
    }
    let mark: &[&[u8]] = &[b"\xef\xbb", b"\xbf{\"text\":\"a joy\"}\n"];
    let found = in_parts(&["tokenize", "--input", "-", "--format", "jsonl"], mark);
    assert_eq!((found.stdout.as_str(), found.stderr.as_str()), ("[CLS] a joy [SEP]\n", ""));
    let little: Vec<u8> = "text\na joy\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for format in ["csv", "tsv", "jsonl", "txt"] {
        in_parts(&["tokenize", "--input", "-", "--format", format], &[&little[..3], &little[3..]])
            .failed(1, "stdin, line 1: the text is UTF-16 (little-endian)");
    }
    in_parts(&["tokenize", "-"], &[b"\xff", b"\xfe", &little]).failed(1, "line 1: the text is UTF-16");
}
