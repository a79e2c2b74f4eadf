//! Texts of megabytes: bounded memory, progress, Ctrl-C.

#[cfg(target_os = "linux")]
use std::io::{BufRead as _, BufReader, Read as _};
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::support::{QUESTION, command, write};
use crate::support::{piped, run, tiny};

/// Returns the largest memory of a process so far, in bytes.
#[cfg(target_os = "linux")]
fn peak(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The tokens of 20 MB would take 110 MB and their scores 900 MB; the model and the text take 60 MB and less
/// than 80 MB.
#[cfg(target_os = "linux")]
#[test]
fn long_texts_take_little_more_memory_than_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let text = write(folder.path(), "long.txt", "It was built by Ada in London. ".repeat(20_000_000 / 31));
    let model = tiny("mobilebert-ner-f32");
    let tag = ["tag", "--model", &model, "--input", &text, "--progress", "--json"];
    let answer = [&QUESTION[..], &["--context-file", &text, "--progress", "--json"]].concat();
    for args in [&tag[..], &answer] {
        let mut child = command(args).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        assert_eq!(line, "reading 19 MB\n", "{args:?}");
        line.clear();
        errors.read_line(&mut line).unwrap();
        assert!(line.contains(" windows (1 %)"), "{line}");
        let most = peak(child.id());
        let interrupt = format!("kill -INT {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        let pressed = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{args:?}");
        assert!(pressed.elapsed() < Duration::from_secs(5), "{:?}", pressed.elapsed());
        let mut rest = String::new();
        errors.read_to_string(&mut rest).unwrap();
        assert!(rest.lines().last().unwrap().starts_with("mobilebert: cancelled after "), "{rest}");
        assert!(most < 200_000_000, "{args:?}: {most} bytes");
    }
}

/// With a copy of the text for each question, this would take more than a gigabyte.
#[cfg(target_os = "linux")]
#[test]
fn many_questions_take_little_more_memory_than_one() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "long.txt", "It was built by Ada in London. ".repeat(10_000_000 / 31));
    let questions = write(folder.path(), "questions", "Who built it?\n".repeat(100));
    let path = folder.path().display().to_string();
    let args = ["answer", "--context-file", &path, "--questions-file", &questions, "--progress", "--json"];
    let mut child = command(&args).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(" windows (1 %)") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "the command has ended");
    }
    let most = peak(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(most < 300_000_000, "{most} bytes");
}

/// A text of more than a megabyte is read in pieces.
#[test]
fn a_long_text_is_tagged_as_its_parts_are() {
    let model = tiny("mobilebert-ner-f32");
    let args = [
        "tag",
        "--model",
        &model,
        "--json",
        "--aggregation-strategy",
        "none",
        "--max-seq-len",
        "10",
        "--doc-stride",
        "0",
    ];
    // Windows of eight tokens that share none: one for each sentence.
    let sentence = "anna works in paris . a b c ";
    let once = run(&[&args[..], &[sentence.trim_end()]].concat()).line();
    let tokens =
        run(&["tokenize", "--model", &model, "--json", sentence]).line()["ids"].as_array().unwrap().len();
    assert_eq!(tokens, 10, "the sentence fills a window");
    let count = (1 << 20) / sentence.len() + 100;
    let all = piped(&[&args[..], &["-"]].concat(), sentence.repeat(count));
    assert_eq!(all.code, 0, "{}", all.stderr);
    let (once, all) = (once.as_array().unwrap().clone(), all.lines().remove(0));
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), count * once.len());
    for (i, entity) in all.iter().enumerate() {
        let (place, expected) = (i / once.len() * sentence.len(), &once[i % once.len()]);
        let start = expected["start"].as_u64().unwrap() as usize + place;
        assert_eq!(entity["start"].as_u64().unwrap() as usize, start);
        assert_eq!((&entity["score"], &entity["word"]), (&expected["score"], &expected["word"]));
    }
}

/// The fields that no model reads are held too: without counting them, 60 rows take 370 MB, because they
/// are read faster than the model goes on.
#[cfg(target_os = "linux")]
#[test]
fn large_fields_of_objects_count_as_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (text, more) = ("a joy to watch ".repeat(300), "x".repeat(5_000_000));
    let row = format!("{{\"text\":\"{text}\",\"more\":\"{more}\"}}\n");
    let input = write(folder.path(), "in.jsonl", row.repeat(60));
    let args = ["classify", "--json", "--input", &input];
    let mut child = command(&args).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(peak(child.id()));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    assert!(most > 0 && most < 250_000_000, "{most} bytes");
}
