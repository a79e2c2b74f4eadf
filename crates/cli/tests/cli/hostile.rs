//! What a new user may do wrong without meaning to: each is refused by name, or done rightly.

use std::fs;
#[cfg(unix)]
use std::process::Stdio;

use serde_json::json;

use crate::support::{QUESTION, command, finished, piped, run, tiny, write};

#[test]
fn numbers_that_are_none_are_refused_by_name() {
    run(&["classify", "x", "--threads", "-1"]).failed(2, "invalid value '-1' for '--threads <N>'");
    run(&["classify", "x", "--top-k", "-1"]).failed(2, "invalid value '-1' for '--top-k <N>'");
    run(&["classify", "x", "--max-seq-len", "-5"]).failed(2, "invalid value '-5' for '--max-seq-len <N>'");
    run(&["infer", "--ids", "-1"]).failed(2, "invalid value '-1' for '--ids <N,N>'");
    for threshold in ["nan", "inf", "1e999"] {
        let expected =
            format!("invalid value '{threshold}' for '--threshold <SCORE>': expected a finite number");
        run(&["classify", "x", "--threshold", threshold]).failed(2, &expected);
    }
    assert_eq!(run(&["classify", "a joy", "--threshold", "-1.5", "--json"]).line()["label"], "positive");
    for seconds in ["nan", "inf", "-1"] {
        for flag in ["--min-secs", "--max-secs"] {
            run(&["bench", flag, seconds]).failed(2, "expected a finite number of at least 0");
        }
    }
    run(&["finetune", "a", "b", "--task", "sst2", "--data", "c", "--rate", "nan"]).failed(2, "--rate <R>");
    for command in ["bench", "profile"] {
        run(&[command, "--warmup-runs", "18446744073709551615"]).failed(2, "0..=1000000");
    }
}

#[test]
fn flags_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lines = write(folder.path(), "in.txt", "a joy\n");
    let objects = write(folder.path(), "in.jsonl", "{\"text\":\"a joy\"}\n");
    run(&["classify", "--input", &lines, "--text-column", "0"])
        .failed(2, "--text-column goes with TSV, CSV and JSON lines");
    for file in [&lines, &objects] {
        run(&["classify", "--input", file, "--no-header"]).failed(2, "--no-header goes with TSV and CSV");
    }
    run(&["classify", "x", "--output-format", "csv"]).failed(2, "required arguments were not provided");
    run(&["answer", "--context", "-", "--questions-file", "-"]).failed(2, "cannot be both");
    run(&["answer", "--question", "x", "--context", "y", "--input", "-"]).failed(2, "cannot be used with");
    run(&["classify", "-", "--input", &lines]).failed(2, "cannot be used with");
    run(&["man", "answer", "--output", "x"]).failed(2, "cannot be used with");
    run(&["man", "--output", &lines]).failed(2, "in.txt is no folder");
    for command in [&["classify", "x"][..], &["man"]] {
        let dash = run(&[command, &["--output", "-"]].concat());
        dash.failed(2, "leave out --output to write to standard output");
    }
}

#[test]
fn a_field_that_is_there_twice_is_an_error_of_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "{\"text\":\"a joy\",\"text\":\"dull\"}\n{\"text\":\"a joy\"}\n[\"text\"]\n";
    let found = run(&["classify", "--json", "--input", &write(folder.path(), "in.jsonl", text)]);
    let lines = found.lines();
    assert_eq!((found.code, lines.len(), &lines[1]["label"]), (1, 3, &json!("positive")));
    let problem = |i: usize| lines[i]["error"].as_str().unwrap().to_owned();
    assert!(
        problem(0).contains("in.jsonl, line 1: expected a JSON object: the field `text` is there twice"),
        "{}",
        problem(0)
    );
    assert!(problem(2).contains("line 3: expected a JSON object: "), "{}", problem(2));
}

#[test]
fn marks_carriage_returns_and_zeros_are_text_or_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = |name: &str, text: &[u8]| {
        let found = run(&["tokenize", "--input", &write(folder.path(), name, text)]);
        assert_eq!((found.code, found.stderr.as_str()), (0, ""));
        found.stdout
    };
    assert_eq!(
        tokens("in.txt", b"\xef\xbb\xbfa joy\r\n\r\nb\0c\r\n"),
        "[CLS] a joy [SEP]\n[CLS] [SEP]\n[CLS] bc [SEP]\n"
    );
    assert_eq!(tokens("in.csv", b"\xef\xbb\xbftext\r\n\"a\r\nb\"\r\n"), "[CLS] a b [SEP]\n");
    for name in ["in.csv", "in.tsv", "in.jsonl", "in.txt"] {
        assert_eq!(tokens(name, b""), "", "{name}");
    }
    assert_eq!(piped(&["classify", "-"], "").stdout, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_a_failure_of_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(folder.path(), "in.txt", "anna\n");
    let model = tiny("mobilebert-f32");
    for name in ["x.csv", "x.tsv", "x.jsonl"] {
        let output = folder.path().join(name);
        std::os::unix::fs::symlink("/dev/full", &output).unwrap();
        let output = output.display().to_string();
        let found = run(&["embed", "--model", &model, "--quiet", "--input", &input, "--output", &output]);
        found.failed(1, &format!("{name}: No space left on device"));
    }
    for args in [&["man"][..], &["kernels"], &["classify", "a joy"], &["tokenize", "x", "--json"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let found = finished(command(args).stdout(Stdio::from(full)).output().unwrap());
        assert_eq!(found.code, 1, "{args:?}");
        assert!(found.stderr.starts_with("mobilebert: stdout: No space left"), "{}", found.stderr);
    }
}

/// A warning that cannot be written is no reason to stop, and certainly not to panic.
#[cfg(target_os = "linux")]
#[test]
fn standard_error_may_be_full() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("x.npy").display().to_string();
    let input = write(folder.path(), "in.txt", format!("anna\n\n{}\n", "a ".repeat(1000)));
    let model = tiny("mobilebert-f32");
    let impossible = [&QUESTION[..], &["--context", "Ada", "--handle-impossible-answer"]].concat();
    for (args, code) in [
        (&["embed", "--model", &model, "x"][..], 0),
        (&["embed", "--model", &model, "--input", &input, "--output", &output], 1),
        (&impossible, 0),
        (&["classify", ""], 1),
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let found = finished(command(args).stderr(Stdio::from(full)).output().unwrap());
        assert_eq!(found.code, code, "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn names_need_not_be_unicode() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| folder.path().join(OsStr::from_bytes(bytes));
    fs::write(name(b"\xff.txt"), "anna\n").unwrap();
    let model = tiny("mobilebert-f32");
    for (extension, more) in [("jsonl", "csv"), ("npy", "npy")] {
        let output = name(&[&b"\xfe."[..], extension.as_bytes()].concat());
        let mut args = command(&["embed", "--model", &model, "--quiet", "--output-format", more]);
        args.arg("--input").arg(name(b"\xff.txt")).arg("--output").arg(&output);
        let found = finished(args.output().unwrap());
        assert_eq!((found.code, found.stderr.as_str()), (0, ""));
        assert!(fs::metadata(&output).unwrap().len() > 64);
    }
    // As a folder: the name in the results is as near as Unicode comes.
    let mut args = command(&["tokenize", "--json"]);
    let found = finished(args.arg("--input").arg(folder.path()).output().unwrap());
    assert_eq!(found.lines()[0]["file"], "\u{fffd}.txt");
    let found = finished(command(&["classify"]).arg(OsStr::from_bytes(b"\xff")).output().unwrap());
    assert!(found.code == 2 && found.stderr.contains("invalid UTF-8"), "{}", found.stderr);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(closed.join("x"), "x").is_ok() {
        eprintln!("SKIPPED: this user may write everywhere");
        return;
    }
    let model = tiny("mobilebert-f32");
    for name in ["x.csv", "x.npy"] {
        let output = closed.join(name).display().to_string();
        run(&["embed", "--model", &model, "--quiet", "x", "--output", &output])
            .failed(1, "Permission denied");
    }
}

#[test]
fn colours_are_for_terminals() {
    let bogus = |variables: &[&str]| {
        let mut command = command(&["classify", "--bogus"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
        command.envs(variables.iter().map(|name| (name, "1")));
        let found = finished(command.output().unwrap());
        assert_eq!(found.code, 2);
        found.stderr
    };
    // Standard error is a pipe here. Colours that are forced show that there are some to leave out.
    assert!(bogus(&["CLICOLOR_FORCE"]).contains('\u{1b}'));
    assert!(!bogus(&["CLICOLOR_FORCE", "NO_COLOR"]).contains('\u{1b}'));
    assert!(!bogus(&[]).contains('\u{1b}'));
}
