//! What the command says and leaves behind when it is used wrongly, stopped or interrupted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const QA: &str = "models/qa";
const SENTIMENT: &str = "models/sentiment";
const TAGGER: &str = "tests/golden/checkpoints/mobilebert-ner-f32";
const SQUAD_DATA: &str = "eval/samples/squad.json";
const SST2_DATA: &str = "eval/samples/sst2.tsv";

fn command(cache: Option<&Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env_remove("HOME").args(arguments);
    match cache {
        Some(folder) => command.env("XDG_CACHE_HOME", folder),
        None => command.env_remove("XDG_CACHE_HOME"),
    };
    command
}

fn run(arguments: &[&str]) -> Output {
    command(None, arguments).output().unwrap()
}

/// Exit code and message of a run that fails; the message is one line.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(message.starts_with("mobilebert-eval: ") || message.starts_with("error: "), "{message}");
    assert!(!message.contains("panicked") && output.stdout.is_empty(), "{arguments:?}: {message}");
    (output.status.code().unwrap(), message)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    fs::write(folder.join(name), text).unwrap();
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn every_command_refuses_a_model_of_another_task() {
    for (task, data, models) in [
        ("squad", SQUAD_DATA, [SENTIMENT, TAGGER]),
        ("sst2", SST2_DATA, [QA, TAGGER]),
        ("classify", "eval/samples/classify.csv", [QA, TAGGER]),
        ("ner", "eval/samples/ner.conll", [QA, SENTIMENT]),
    ] {
        for model in models {
            let (code, message) = failure(&[task, "--model", model, "--data", data]);
            assert!(code == 1 && message.contains(" needs "), "{task}, {model}: {message}");
        }
    }
    let (code, message) = failure(&["debug", "--model", SENTIMENT, "--data", SQUAD_DATA]);
    assert!(code == 1 && message.contains("does not answer questions"), "{message}");
}

#[test]
fn every_task_refuses_the_data_of_another_and_empty_files() {
    let folder = tempfile::tempdir().unwrap();
    let samples = ["squad.json", "sst2.tsv", "mnli.tsv", "ner.conll", "classify.csv"];
    for (task, model, own) in [
        ("squad", QA, "squad.json"),
        ("sst2", SENTIMENT, "sst2.tsv"),
        ("mnli", SENTIMENT, "mnli.tsv"),
        ("classify", SENTIMENT, "classify.csv"),
        ("ner", TAGGER, "ner.conll"),
    ] {
        for sample in samples.into_iter().filter(|sample| *sample != own) {
            let data = format!("eval/samples/{sample}");
            let (code, message) = failure(&[task, "--model", model, "--data", &data]);
            assert!(code == 1 && message.contains(sample), "{task}, {sample}: {message}");
        }
        let extension = own.rsplit('.').next().unwrap();
        for text in ["", "\n \n", "\u{feff}"] {
            let empty = write(folder.path(), &format!("empty.{extension}"), text);
            let (code, message) = failure(&[task, "--model", model, "--data", &empty]);
            assert!(code == 1 && message.contains("line 1: the file is empty"), "{task}: {message}");
        }
        let (code, message) = failure(&[task, "--model", model, "--data", "absent.tsv"]);
        assert!(code == 1 && message.contains("absent.tsv"), "{message}");
        let (code, message) = failure(&[task, "--model", model, "--data", "eval/samples"]);
        let hint = format!("give a file, such as eval/samples/{own}");
        assert!(code == 1 && message.contains(&hint), "{message}");
    }
}

#[test]
fn missing_columns_and_ids_are_named_with_those_that_are_there() {
    let classify = ["classify", "--model", SENTIMENT, "--data", "eval/samples/reviews.tsv"];
    let (code, message) = failure(&classify);
    assert!(code == 1 && message.contains("no column `text`; it has id, review"), "{message}");
    let flags = "name the columns with --text-column (now text) and --label-column (now label)";
    assert!(message.contains(flags), "{message}");
    let (_, message) = failure(&[&classify[..], &["--text-column", "review"]].concat());
    assert!(message.contains("no column `label`; it has id, review"), "{message}");
    let debug = ["debug", "--model", QA, "--data", SQUAD_DATA, "--id", "nothing"];
    let (code, message) = failure(&debug);
    let expected = "no question `nothing`; the ids of its 6 questions begin with `lamp-1`, `lamp-2`";
    assert!(code == 1 && message.contains(expected), "{message}");
}

#[test]
fn outputs_are_checked_before_the_work_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = path("d.json");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/squad.json"), &data).unwrap();
    let before = fs::read_to_string(&data).unwrap();
    let squad = ["squad", "--model", QA, "--data", &data];
    for (arguments, code, expected) in [
        (vec!["--report", &data], 2, "is an input"),
        (vec!["--predictions", &data], 2, "is an input"),
        (vec!["--null-odds", &data], 2, "is an input"),
        (vec!["--log", &data], 2, "is an input"),
        (vec!["--report", &path("a.json"), "--predictions", &path("./a.json")], 2, "two outputs"),
        (vec!["--report", &path("a.html"), "--log", &path("a.html")], 2, "two outputs"),
        (vec!["--report", &path("a.html"), "--report", &path("absent/b.html")], 1, "absent/b.html"),
        (vec!["--report", &path("d.json/x.html")], 1, "d.json/x.html"),
    ] {
        let (found, message) = failure(&[&squad[..], &arguments].concat());
        assert!(found == code && message.contains(expected), "{arguments:?}: {message}");
    }
    let latency = ["latency", "--model", QA, "--duration", "100", "--report", &path("absent/x.html")];
    let start = Instant::now();
    let (code, message) = failure(&latency);
    assert!(code == 1 && message.contains("absent/x.html"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(20), "the report is checked before the measurement");
    let certify = ["certify", "--model", QA, "--data", &data, "--reference", &data, "--report", &data];
    assert!(failure(&certify).1.contains("is an input"));
    let (_, message) = failure(&["report", &data, "--out", &data]);
    assert!(message.contains("is an input"), "{message}");
    // A run that fails later leaves no empty file either.
    let (code, _) = failure(&["squad", "--model", SENTIMENT, "--data", &data, "--report", &path("a.html")]);
    assert_eq!(code, 1);
    assert_eq!(fs::read_to_string(&data).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the data is there");
}

/// Each of these once hung, panicked or had no effect.
#[test]
fn numbers_out_of_range_are_wrong_usage() {
    let server = ["latency", "--model", QA, "--seq-len", "8", "--duration", "0.1", "--scenario", "server"];
    let squad = ["squad", "--model", QA, "--data", SQUAD_DATA];
    let certify = ["certify", "--model", QA, "--data", SQUAD_DATA, "--reference", SQUAD_DATA];
    let debug = ["debug", "--model", QA];
    for (command, more, named) in [
        (&server[..], &["--qps=-1"][..], "--qps"),
        (&server, &["--qps=nan"], "--qps"),
        (&server, &["--qps=0"], "--qps"),
        (&server, &["--qps=1e300"], "--qps"),
        (&server, &["--qps=1e6", "--duration=3600"], "--qps times --duration"),
        (&server, &["--latency-bound=-3"], "--latency-bound"),
        (&server, &["--latency-bound=nan"], "--latency-bound"),
        (&server, &["--duration=nan"], "--duration"),
        (&server, &["--duration=-1"], "--duration"),
        (&server, &["--duration=1e300"], "--duration"),
        (&squad, &["--null-threshold=nan"], "--null-threshold"),
        (&squad, &["--limit=0"], "--limit"),
        (&squad, &["--n-best=never-written.json", "--n-best-size=0"], "--n-best-size"),
        (&certify, &["--limit=0"], "--limit"),
        (&certify, &["--min-equal=101"], "--min-equal"),
        (&certify, &["--tie=nan"], "--tie"),
        (&certify, &["--tie=-1"], "--tie"),
        (&debug, &["--question= ", "--context=x"], "--question"),
        (&debug, &["--question=x", "--context="], "--context"),
    ] {
        // The last of two equal flags would be an error of its own.
        let given = |flag: &&str| !more.iter().any(|one| one.starts_with(*flag));
        let at = command.iter().position(|flag| *flag == "--duration" && !given(flag));
        let mut arguments = command.to_vec();
        at.into_iter().for_each(|at| drop(arguments.drain(at..at + 2)));
        let (code, message) = failure(&[&arguments[..], more].concat());
        let first = message.lines().next().unwrap_or_default();
        assert!(code == 2 && first.contains(named), "{more:?}: {message}");
    }
}

/// Each of these once had no effect, and nothing said so.
#[test]
fn flags_without_effect_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let part = write(folder.path(), "part.json", r#"{"lamp-1": "Clara Hobbs"}"#);
    let log = folder.path().join("log.jsonl").to_str().unwrap().to_owned();
    let latency = ["latency", "--model", QA, "--seq-len", "8", "--duration", "0.1"];
    let data = ["latency", "--model", QA, "--duration", "0.1", "--task", "squad", "--data", SQUAD_DATA];
    let squad = ["squad", "--model", QA, "--data", SQUAD_DATA];
    let debug = ["debug", "--model", QA];
    for (command, more, named) in [
        (&debug[..], &["--question", "a", "--context", "b", "--id", "lamp-1"][..], "--id"),
        (&debug, &["--data", SQUAD_DATA, "--context", "b"], "--context"),
        (&latency, &["--task", "ner"], "--task"),
        (&latency, &["--scenario", "single-stream", "--qps", "3"], "--qps is for the scenario server"),
        (&latency, &["--scenario", "offline", "--latency-bound", "4"], "--latency-bound is for the scenario"),
        (&latency, &["--max-seq-len", "64"], "--max-seq-len has no effect"),
        (&data, &["--max-seq-len", "64"], "--max-seq-len has no effect"),
        (&squad, &["--n-best-size", "3"], "--n-best"),
        (&squad, &["--null-threshold", "3"], "leave out --null-threshold"),
        (&["certify"], &[&squad[1..], &["--reference", &part, "--log", &log]].concat(), "leave out --log"),
    ] {
        let (code, message) = failure(&[command, more].concat());
        assert!(code == 2 && message.contains(named), "{more:?}: {message}");
    }
}

/// A report may be asked for under the name of a link, and a pipe has no reader.
#[cfg(unix)]
#[test]
fn links_stay_and_pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let link = path("link.md");
    std::os::unix::fs::symlink("target.md", &link).unwrap();
    let limited = ["squad", "--model", QA, "--data", SQUAD_DATA, "--limit", "1"];
    let output = run(&[&limited[..], &["--report", link.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(link.is_symlink(), "the link was replaced");
    assert!(fs::read_to_string(path("target.md")).unwrap().contains("# Evaluation"));
    let pipe = path("pipe.md");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no command mkfifo");
        return;
    }
    let (code, message) = failure(&[&limited[..], &["--report", pipe.to_str().unwrap()]].concat());
    assert!(code == 2 && message.contains("pipe.md: is a device, a pipe or a socket"), "{message}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_reported_first() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write everywhere");
        return;
    }
    let report = folder.path().join("r.html");
    let (code, message) =
        failure(&["squad", "--model", QA, "--data", SQUAD_DATA, "--report", report.to_str().unwrap()]);
    assert!(code == 1 && message.contains("r.html: Permission denied"), "{message}");
}

#[test]
fn a_certificate_writes_the_files_that_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let reference = write(folder.path(), "reference.json", r#"{"lamp-1": "Clara Hobbs"}"#);
    let output = run(&[
        "certify",
        "--model",
        QA,
        "--data",
        SQUAD_DATA,
        "--reference",
        &reference,
        "--predictions",
        &path("p.json"),
        "--report",
        &path("r.json"),
        "--json",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read =
        |name: &str| -> Value { serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap() };
    assert_eq!(read("p.json"), json!({"lamp-1": "Clara Hobbs"}));
    assert_eq!(read("r.json")["runs"][0]["total"], 1);
}

/// A SQuAD file of many questions, which take seconds.
fn many_questions(folder: &Path, questions: usize) -> String {
    let context = "The lamp was built by Ada in London, and Bob kept it clean. ".repeat(8);
    let answers = json!([{"text": "Ada", "answer_start": 22}]);
    let question =
        |i: usize| json!({"id": format!("q{i}"), "question": "Who built the lamp?", "answers": answers});
    let paragraph =
        |p: usize| json!({"context": context, "qas": (p * 8..p * 8 + 8).map(question).collect::<Vec<_>>()});
    let paragraphs: Vec<Value> = (0..questions / 8).map(paragraph).collect();
    let file = json!({"version": "1.1", "data": [{"title": "", "paragraphs": paragraphs}]});
    write(folder, "many.json", &file.to_string())
}

/// The logs in a cache.
fn logs(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache.join("mobilebert-eval")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_how_far_it_came_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let data = many_questions(folder.path(), 160);
    let report = folder.path().join("r.json").to_str().unwrap().to_owned();
    let arguments = ["squad", "--model", QA, "--data", &data, "--json", "--report", &report];
    let mut run = command(Some(&cache), &arguments);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let lines = || logs(&cache).first().map_or(0, |log| fs::read_to_string(log).unwrap().lines().count());
    while lines() < 2 {
        assert!(
            start.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(),
            "no predictions"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(output.stdout.is_empty() && !Path::new(&report).exists());
    let last = message.lines().last().unwrap();
    assert!(last.starts_with("mobilebert-eval: stopped after "), "{message}");
    assert!(last.ends_with(" of 160 predictions; the same command goes on from there"), "{message}");
    let made: usize = last.split(' ').nth(3).unwrap().parse().unwrap();

    let output = command(Some(&cache), &arguments).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["resumed"], &result["total"]), (&json!(made), &json!(160)));
    assert!(made > 0 && Path::new(&report).exists());
    assert_eq!(logs(&cache), Vec::<PathBuf>::new(), "a complete run needs no log");
}

/// Predictions take hours, so they are kept until the results are written.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_cannot_write_its_result_keeps_the_predictions() {
    let cache = tempfile::tempdir().unwrap();
    let arguments = ["squad", "--model", QA, "--data", SQUAD_DATA, "--json"];
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(Some(cache.path()), &arguments).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(logs(cache.path()).len(), 1);
    let output = command(Some(cache.path()), &arguments).output().unwrap();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["resumed"], 6);
}

/// A run that is killed again and again ends with the results of a run that was not.
#[test]
fn a_killed_run_goes_on_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let data = many_questions(folder.path(), 160);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let log = path("log.jsonl");
    let squad = ["squad", "--model", QA, "--data", &data, "--json"];
    let with_log = |name: &str| {
        let more = ["--log", &log, "--predictions", &path(name)].map(str::to_owned);
        squad.map(str::to_owned).into_iter().chain(more).collect::<Vec<_>>()
    };
    let lines = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let arguments = with_log("p.json");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut made = 0;
    for kill in 0..3 {
        let mut run = command(None, &arguments);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while lines() < made + 3 {
            assert!(start.elapsed() < Duration::from_secs(120), "kill {kill}: no predictions");
            assert!(child.try_wait().unwrap().is_none(), "kill {kill}: the run has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lines() >= made, "kill {kill} has cost predictions");
        made = lines();
        assert!(!Path::new(&path("p.json")).exists(), "kill {kill}: predictions before the end");
    }
    let result = |arguments: &[&str]| -> Value {
        let output = run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let resumed = result(&arguments);
    // The head of the log is no prediction, and the last line may be half of one.
    let found = resumed["resumed"].as_u64().unwrap() as usize;
    assert!(found + 1 == made || found + 2 == made, "{found} predictions of {made} lines");
    let whole = result(&[&squad[..], &["--no-resume", "--predictions", &path("whole.json")]].concat());
    for score in ["exact", "f1", "total"] {
        assert_eq!(resumed[score], whole[score], "{score}");
    }
    assert_eq!(whole["resumed"], 0);
    let read = |name: &str| fs::read(path(name)).unwrap();
    assert!(read("p.json") == read("whole.json"), "the predictions differ");
    assert_eq!(lines(), 161);
}
