//! Runs the command `mobilebert-eval` on the samples of the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
    // The tests do not touch the user's cache.
    command.current_dir(root()).env_remove("HOME").env_remove("XDG_CACHE_HOME").args(arguments);
    command.output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Exit code and message of a run that fails.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

const SQUAD: [&str; 5] = ["squad", "--model", "models/qa", "--data", "eval/samples/squad.json"];

#[test]
fn squad_prints_one_object_and_writes_official_files() {
    let folder = tempfile::tempdir().unwrap();
    let [predictions, n_best, null_odds] = ["p.json", "n.json", "o.json"].map(|name| path(&folder, name));
    let mut arguments = SQUAD.to_vec();
    arguments.extend([
        "--json",
        "--predictions",
        &predictions,
        "--n-best",
        &n_best,
        "--null-odds",
        &null_odds,
    ]);
    let result = json(&arguments);
    assert_eq!((result["total"].as_u64(), result["precision"].as_str()), (Some(6), Some("int8")));
    assert_eq!(result["model"], "models/qa");
    assert!(
        result["exact"].as_f64().unwrap() > 60.0 && result["f1"].as_f64() >= result["exact"].as_f64(),
        "{result}"
    );
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(result["model_sha256"].as_str().unwrap().len(), 64);
    let names: Vec<&String> = result.as_object().unwrap().keys().take(6).collect();
    assert_eq!(names, ["exact", "f1", "total", "seconds", "model", "precision"]);

    let answers = read_json(&predictions);
    assert_eq!(answers["lamp-1"], "Clara Hobbs");
    let n_best = read_json(&n_best);
    assert_eq!(n_best["lamp-1"][0]["text"], answers["lamp-1"]);
    let probabilities =
        n_best["lamp-1"].as_array().unwrap().iter().map(|a| a["probability"].as_f64().unwrap());
    assert!((probabilities.sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(read_json(&null_odds)["lamp-1"].as_f64().unwrap() < 0.0);

    let limited =
        json(&[&SQUAD[..], &["--json", "--limit", "2", "--precision", "f32", "--threads", "1"]].concat());
    assert_eq!((limited["total"].as_u64(), limited["precision"].as_str()), (Some(2), Some("f32")));
}

#[test]
fn squad_2_knows_questions_without_an_answer() {
    let data = ["--model", "models/qa", "--data", "eval/samples/squad2.json", "--json"];
    let result = json(&[&["squad2"], &data[..]].concat());
    assert_eq!((result["HasAns_total"].as_u64(), result["NoAns_total"].as_u64()), (Some(6), Some(2)));
    assert!(result["best_f1"].as_f64() >= result["f1"].as_f64() && result["best_exact_thresh"].is_number());
    assert!((0.0..=100.0).contains(&result["auroc"].as_f64().unwrap()), "{result}");
    let never = json(&[&["squad"], &data[..], &["--null-threshold", "inf"]].concat());
    assert_eq!(never["NoAns_exact"], 0.0);
    let always = json(&[&["squad"], &data[..], &["--null-threshold", "-inf"]].concat());
    assert_eq!((&always["NoAns_exact"], &always["HasAns_exact"]), (&100.0.into(), &0.0.into()));
    assert_eq!(always["best_f1"], never["best_f1"]);
}

#[test]
fn glue_tables_and_entities() {
    let folder = tempfile::tempdir().unwrap();
    let predictions = path(&folder, "p.tsv");
    let sst2 = ["sst2", "--model", "models/sentiment", "--data", "eval/samples/sst2.tsv", "--json"];
    let result = json(&[&sst2[..], &["--predictions", &predictions]].concat());
    assert_eq!((result["accuracy"].as_f64(), result["total"].as_u64()), (Some(100.0), Some(6)));
    let text = fs::read_to_string(&predictions).unwrap();
    assert_eq!(text, "index\tprediction\n0\t1\n1\t0\n2\t1\n3\t0\n4\t1\n5\t0\n");

    // A part of a file keeps the numbers of its rows.
    let part = path(&folder, "part.tsv");
    fs::write(&part, "index\tsentence\n17\ta joy\n5\tdull\n").unwrap();
    let sst2 = ["sst2", "--model", "models/sentiment", "--data", &part, "--predictions", &predictions];
    assert!(run(&sst2).status.success());
    assert_eq!(fs::read_to_string(&predictions).unwrap(), "index\tprediction\n17\t1\n5\t0\n");

    for data in ["eval/samples/classify.csv", "eval/samples/classify.jsonl"] {
        let result = json(&["classify", "--model", "models/sentiment", "--data", data, "--json"]);
        assert!(result["accuracy"].as_f64().unwrap() >= 75.0 && result["macro_f1"].is_number(), "{result}");
    }
    let ner = "tests/golden/checkpoints/mobilebert-ner-f32";
    let result = json(&[
        "ner",
        "--model",
        ner,
        "--data",
        "eval/samples/ner.conll",
        "--json",
        "--predictions",
        &predictions,
    ]);
    assert_eq!(result["total"], 60);
    for name in ["f1", "overall_precision", "overall_recall", "accuracy"] {
        assert!(result[name].is_number(), "{name}: {result}");
    }
    let text = fs::read_to_string(&predictions).unwrap();
    assert!(text.starts_with("Clara\tB-PER\t") && text.lines().count() == 590 + 60, "{text}");
}

#[test]
fn embeddings_are_scored_by_rank() {
    let data = ["--data", "eval/samples/stsb.tsv", "--json"];
    let result = json(&[&["embed", "--model", "models/embed"][..], &data].concat());
    assert_eq!((&result["metric"], &result["total"]), (&"spearman".into(), &4.into()));
    assert_eq!(result["spearman"].as_f64().map(f64::round), Some(80.0), "{result}");
    assert!(result["pearson"].as_f64().unwrap() > 90.0, "{result}");
}

/// For each task: the labels of its sample, and the names of its scores.
#[test]
fn every_glue_task_reads_its_sample_and_names_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let sentiment = root().join("models/sentiment");
    for (task, labels, metrics) in [
        ("mrpc", ["not_equivalent", "equivalent"], &["f1", "accuracy"][..]),
        ("qqp", ["not_duplicate", "duplicate"], &["f1", "accuracy"]),
        ("qnli", ["entailment", "not_entailment"], &["accuracy"]),
        ("rte", ["entailment", "not_entailment"], &["accuracy"]),
        ("cola", ["LABEL_0", "LABEL_1"], &["matthews", "accuracy"]),
    ] {
        // This is the sentiment model with other labels. The values of its scores mean nothing, so their
        // names and number are checked.
        let model = folder.path().join(task);
        fs::create_dir(&model).unwrap();
        for file in ["model.safetensors", "vocab.txt", "tokenizer_config.json"] {
            fs::copy(sentiment.join(file), model.join(file)).unwrap();
        }
        let mut config = read_json(sentiment.join("config.json"));
        config["id2label"] = serde_json::json!({"0": labels[0], "1": labels[1]});
        config["label2id"] = serde_json::json!({labels[0]: 0, labels[1]: 1});
        fs::write(model.join("config.json"), config.to_string()).unwrap();
        let data = format!("eval/samples/{task}.tsv");
        let result = json(&[task, "--model", model.to_str().unwrap(), "--data", &data, "--json"]);
        assert_eq!(result["total"], 4, "{task}");
        for metric in metrics {
            assert!(result[*metric].is_number(), "{task}: {result}");
        }
        assert_eq!(result["metric"], metrics[0]);
    }
    for task in ["mnli", "stsb"] {
        let data = format!("eval/samples/{task}.tsv");
        let (code, message) = failure(&[task, "--model", "models/sentiment", "--data", &data]);
        assert!(
            code > 0 && (message.contains("is none of the model's") || message.contains("regression")),
            "{message}"
        );
    }
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = path(&folder, "log.jsonl");
    let with_log = |more: &[&str]| json(&[&SQUAD[..], &["--json", "--log", &log], more].concat());
    let whole = json(&[&SQUAD[..], &["--json", "--no-resume"]].concat());
    assert_eq!(with_log(&["--limit", "3"])["resumed"], 0);
    // A killed run leaves half a line.
    let mut text = fs::read_to_string(&log).unwrap();
    text.truncate(text.trim_end().len() - 10);
    fs::write(&log, text).unwrap();
    let rest = with_log(&[]);
    assert_eq!(rest["resumed"], 2);
    assert_eq!(
        (&rest["exact"], &rest["f1"], &rest["total"]),
        (&whole["exact"], &whole["f1"], &whole["total"])
    );
    assert_eq!(with_log(&[])["resumed"], 6);

    let (code, message) = failure(&[&SQUAD[..], &["--log", &log, "--precision", "f32"]].concat());
    assert!(code == 1 && message.contains("line 1: is the log of another model"), "{message}");
}

#[test]
fn the_cache_remembers_a_run_until_it_is_complete() {
    let (cache, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = path(&broken, "d.tsv");
    // The last question is longer than the model allows, so the run ends there.
    let long = "why ".repeat(80);
    let squad = fs::read_to_string(root().join("eval/samples/squad.json")).unwrap();
    let squad = squad.replace("How long does the loaf keep fresh?", &long);
    fs::write(&data, squad).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
        command.current_dir(root()).env("XDG_CACHE_HOME", cache.path());
        command
            .args(["squad", "--model", "models/qa", "--data", &data, "--json"])
            .args(more)
            .output()
            .unwrap()
    };
    let output = run(&[]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("question `rye-2`") && message.contains("80 tokens"), "{message}");
    let files = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
    assert_eq!(files(&cache.path().join("mobilebert-eval")), 1);
    let log = fs::read_dir(cache.path().join("mobilebert-eval")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(
        fs::read_to_string(log).unwrap().lines().count(),
        1 + 5,
        "a head and the predictions before it"
    );
    let output = run(&["--max-question-len", "100"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn damaged_data_and_wrong_usage_say_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        path(&folder, name)
    };
    let tsv = file("d.tsv", "\u{feff}sentence\tlabel\r\nfine\t1\r\nbad\t7\r\n");
    let (code, message) = failure(&["sst2", "--model", "models/sentiment", "--data", &tsv]);
    assert!(code == 1 && message.contains("d.tsv, line 3: label `7`; expected"), "{message}");
    let empty = file("e.json", "");
    let (code, message) = failure(&["squad", "--model", "models/qa", "--data", &empty]);
    assert!(code == 1 && message.contains("e.json, line 1: the file is empty"), "{message}");
    let (code, message) =
        failure(&["squad", "--model", "models/sentiment", "--data", "eval/samples/squad.json"]);
    assert!(code == 1 && message.contains("question answering needs"), "{message}");
    let (code, message) = failure(&[&SQUAD[..], &["--report", "report.pdf"]].concat());
    assert!(code == 2 || message.contains("a report is .html, .md or .json"), "{message}");
    let (code, message) = failure(&[&SQUAD[..], &["--predictions", "absent/p.json"]].concat());
    assert!(code == 1 && message.contains("absent/p.json"), "{message}");
    assert_eq!(failure(&[&SQUAD[..], &["--limit", "0"]].concat()).0, 2);
    assert_eq!(failure(&["squad"]).0, 2);
    let data = folder.path().to_str().unwrap();
    let (_, message) = failure(&["rte", "--model", "models/sentiment", "--data", data]);
    assert!(message.contains("no file for rte; expected one of glue/rte/dev.tsv"), "{message}");
    assert!(!root().join("report.pdf").exists());
}

#[test]
fn certificates_count_and_explain_disagreements() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = path(&folder, "p.json");
    json(&[&SQUAD[..], &["--json", "--predictions", &recorded]].concat());
    let certify = ["certify", "--model", "models/qa", "--data", "eval/samples/squad.json", "--json"];
    let same = json(&[&certify[..], &["--reference", &recorded, "--min-equal", "100"]].concat());
    assert_eq!((same["equal"].as_u64(), same["equal_percent"].as_f64()), (Some(6), Some(100.0)));
    assert_eq!((&same["f1_difference"], &same["f1_difference_interval"][1]), (&0.0.into(), &0.0.into()));

    let mut answers = read_json(&recorded);
    answers["lamp-1"] = "Clara Hob".into();
    answers["lamp-2"] = "on Gull Rock was built in 1874".into();
    fs::write(&recorded, answers.to_string()).unwrap();
    let output = run(&[&certify[..], &["--reference", &recorded, "--min-equal", "100"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let certificate: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((certificate["equal"].as_u64(), certificate["tokenizer"].as_u64()), (Some(4), Some(1)));
    let first = &certificate["disagreements"][0];
    assert_eq!((first["id"].as_str(), first["cause"].as_str()), (Some("lamp-1"), Some("tokenizer")));
    assert!(certificate["f1_difference"].as_f64().unwrap() > 0.0);

    let lines = path(&folder, "p.jsonl");
    fs::write(&lines, "{\"id\": \"lamp-2\", \"answer\": \"1874\", \"start_char\": 41, \"end_char\": 45}\n")
        .unwrap();
    assert_eq!(json(&[&certify[..], &["--reference", &lines]].concat())["equal"], 1);
    fs::write(&lines, "{\"id\": \"lamp-2\", \"start_char\": 1}\n").unwrap();
    let (code, message) = failure(&[&certify[..], &["--reference", &lines]].concat());
    assert!(code == 1 && message.contains("p.jsonl, line 1: no text `answer`"), "{message}");
}

#[test]
fn latency_says_what_was_measured_and_refuses_a_headline_from_too_little() {
    let result = json(&[
        "latency",
        "--model",
        "models/sentiment",
        "--task",
        "sst2",
        "--data",
        "eval/samples/sst2.tsv",
        "--duration",
        "0.1",
        "--json",
    ]);
    for name in ["model_sha256", "precision", "kernel", "cpu", "sequences"] {
        assert!(result[name].is_string(), "{name}: {result}");
    }
    assert!(result["note"].as_str().unwrap().contains("LoadGen-style, not an MLPerf result"));
    let scenarios: Vec<&str> =
        result["scenarios"].as_array().unwrap().iter().map(|s| s["scenario"].as_str().unwrap()).collect();
    assert_eq!(scenarios, ["SingleStream", "MultiStream", "Server", "Offline"]);
    for scenario in result["scenarios"].as_array().unwrap() {
        assert!(scenario["p50_ms"].as_f64().unwrap() > 0.0, "{scenario}");
        assert_eq!(scenario["headline"].is_null(), scenario["refused"].is_string(), "{scenario}");
        assert!(scenario["refused"].is_string(), "0.1 seconds are too few: {scenario}");
    }
    let text = run(&[
        "latency",
        "--model",
        "models/sentiment",
        "--seq-len",
        "16",
        "--duration",
        "0.1",
        "--scenario",
        "offline",
    ]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("no headline") && text.contains("16 tokens each"), "{text}");
}

#[test]
fn reports_stand_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [html, markdown, result, both] =
        ["r.html", "r.md", "r.json", "both.html"].map(|name| path(&folder, name));
    json(&[&SQUAD[..], &["--json", "--report", &html, "--report", &markdown, "--report", &result]].concat());
    let page = fs::read_to_string(&html).unwrap();
    for part in [
        "<svg",
        "Accuracy against latency",
        "Error by layer",
        "Calibration",
        "Kind of question",
        "Latency, SingleStream",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    for foreign in ["<script", "http:", "https:", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(fs::read_to_string(&markdown).unwrap().contains("| f1 |"));
    let run = &read_json(&result)["runs"][0];
    assert!(run["layers"].as_array().unwrap().len() > 2 && run["calibration"]["error"].is_number());

    let peers = path(&folder, "peers.json");
    fs::write(&peers, r#"[{"name": "Other <engine>", "f1": 90.1, "latency_ms": 12.5, "bytes": 100000000}]"#)
        .unwrap();
    let output = self::run(&["report", &result, "--peers", &peers, "--out", &both]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(&both).unwrap().contains("Other &lt;engine&gt;"));
}

#[test]
fn the_debugger_replays_a_question() {
    let result = json(&[
        "debug",
        "--model",
        "models/qa",
        "--question",
        "Who built it?",
        "--context",
        "It was built by Ada.",
        "--json",
    ]);
    assert_eq!((result["answer"].as_str(), result["reference"].as_str()), (Some("Ada"), Some("Ada")));
    assert!(result["found"].is_null() && result["layers"].as_array().unwrap().len() > 2, "{result}");
    let (code, message) =
        failure(&["debug", "--model", "models/qa", "--data", "eval/samples/squad.json", "--id", "x"]);
    assert!(code == 1 && message.contains("no question `x`"), "{message}");
}

#[test]
fn tasks_are_listed_with_their_sources() {
    let text = String::from_utf8(run(&["tasks"]).stdout).unwrap();
    for task in [
        "squad", "squad-v2", "sst2", "mrpc", "qqp", "qnli", "rte", "cola", "stsb", "mnli", "ner", "classify",
        "embed",
    ] {
        assert!(text.lines().any(|line| line.split(' ').next() == Some(task)), "no {task}");
    }
    for line in text.lines().filter(|line| line.contains(" sample ")) {
        let sample = line.rsplit(' ').next().unwrap();
        assert!(root().join(sample).is_file(), "no {sample}");
    }
}

/// A folder of data may have both versions of SQuAD.
#[test]
fn squad_and_squad2_find_their_own_file_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (sample, name) in [("squad.json", "dev-v1.1.json"), ("squad2.json", "dev-v2.0.json")] {
        fs::copy(root().join("eval/samples").join(sample), folder.path().join(name)).unwrap();
    }
    let data = folder.path().to_str().unwrap();
    for (command, sample) in [("squad", "eval/samples/squad.json"), ("squad2", "eval/samples/squad2.json")] {
        let result = |data: &str| json(&[command, "--model", "models/qa", "--data", data, "--json"]);
        let (found, expected) = (result(data), result(sample));
        assert_eq!((&found["f1"], &found["total"]), (&expected["f1"], &expected["total"]), "{command}");
    }
}
