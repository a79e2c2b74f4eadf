//! `mobilebert finetune`.
#![cfg(feature = "candle")]

use serde_json::json;

use crate::support::{keys, run, tiny, write};

#[test]
fn finetune_writes_a_model_and_says_what_it_gained() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "good film\tpositive\nbad film\tnegative\ngood day\tpositive\nbad day\tnegative\n".repeat(4);
    let data = write(folder.path(), "train.tsv", format!("text\tlabel\n{rows}"));
    let to = folder.path().join("tuned").display().to_string();
    let source = tiny("bert-f32");
    let args = ["finetune", &source, &to, "--task", "classify", "--data", &data];
    let more = ["--qat", "--bits", "4", "--epochs", "2", "--rate", "0.01", "--eval-data", &data, "--json"];
    let report = run(&[&args[..], &more].concat()).line();
    assert_eq!(
        keys(&report),
        ["arithmetic", "sequences", "cut", "steps", "losses", "metric", "before", "after"]
    );
    assert_eq!((&report["arithmetic"], &report["metric"]), (&json!("int4"), &json!("accuracy")));
    assert_eq!(report["after"]["total"], 16);
    let label = run(&["classify", "good film", "--model", &to, "--json"]).line();
    assert_eq!(label["label"].as_str().map(str::is_empty), Some(false));

    run(&args).failed(1, "already exists");
    let other = run(&[&args[..], &["--force", "--teacher", &tiny("mobilebert-f32")]].concat());
    other.failed(1, "question answering");
    let again = run(&[&args[..], &["--force", "--epochs", "1"]].concat());
    assert!(
        again.code == 0 && again.stdout.contains("1 steps in f32; loss "),
        "{}{}",
        again.stdout,
        again.stderr
    );
    run(&[&args[..], &["--bits", "4"]].concat()).failed(2, "--qat");
    run(&[&args[..], &["--qat", "--bits", "5"]].concat()).failed(2, "8 or 4");
    run(&[&args[..], &["--force", "--rate", "0"]].concat()).failed(2, "--rate is 0");
    run(&[&args[..], &["--force", "--precision", "int8"]].concat()).failed(2, "--qat");
    run(&["finetune", &source, &to, "--task", "ner", "--data", &data, "--force"])
        .failed(1, "token classification needs");
}

/// The entries of a folder, hidden ones too.
#[cfg(unix)]
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A training that is killed leaves no model where it was to write one, and the same command then writes what a run
/// without a kill writes.
#[cfg(unix)]
#[test]
fn a_training_that_is_killed_leaves_no_half_model() {
    use std::time::{Duration, Instant};

    let folder = tempfile::tempdir().unwrap();
    let rows = "good film\tpositive\nbad film\tnegative\ngood day\tpositive\nbad day\tnegative\n";
    let data = write(folder.path(), "train.tsv", format!("text\tlabel\n{}", rows.repeat(20)));
    // Scoring the written model takes a while, and its folder is under construction all the time.
    let eval_data = write(folder.path(), "dev.tsv", format!("text\tlabel\n{}", rows.repeat(500)));
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let to = out.join("tuned");
    let path = to.display().to_string();
    let whole = folder.path().join("whole").display().to_string();
    let source = tiny("bert-f32");
    let more = ["--task", "classify", "--data", &data, "--epochs", "1", "--eval-data", &eval_data];
    let arguments = [&["finetune", &source, &path], &more[..]].concat();

    /// Runs the command until `ready`, and kills it.
    fn kill_when(what: &str, arguments: &[&str], ready: impl Fn() -> bool) {
        let mut child = crate::support::command(arguments).spawn().unwrap();
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < Duration::from_secs(120), "{what}: nothing happens");
            assert!(child.try_wait().unwrap().is_none(), "{what}: the run has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let partial = || names(&out).into_iter().find(|name| name.ends_with(".partial"));
    let has = |file: &str| partial().is_some_and(|folder| out.join(folder).join(file).exists());
    let started = Instant::now();
    kill_when("the beginning", &arguments, || started.elapsed() > Duration::from_millis(50));
    kill_when("a folder", &arguments, || has(".lock"));
    assert!(!to.exists());
    // A folder that was left behind is hidden, named after its process, and removed by the next run.
    let left = partial().unwrap();
    assert!(left.starts_with(".tuned.") && run(&["inspect", "--model", &path]).code == 1);
    kill_when("weights", &arguments, || {
        partial().is_some_and(|name| name != left) && has("model.safetensors")
    });
    assert!(!to.exists() && names(&out).len() == 1, "{:?}", names(&out));
    run(&["classify", "good film", "--model", &path]).failed(1, "tuned");

    assert_eq!(run(&arguments).code, 0);
    assert_eq!(names(&out), ["tuned"]);
    assert_eq!(run(&[&["finetune", &source, &whole], &more[..]].concat()).code, 0);
    let files = |folder: &str| {
        let read = |name: String| (std::fs::read(std::path::Path::new(folder).join(&name)).unwrap(), name);
        names(folder.as_ref()).into_iter().map(read).collect::<Vec<_>>()
    };
    let written = files(&whole);
    assert!(written == files(&path), "a kill before changes what is written");

    // A model that was to be replaced is still there.
    let again = [&arguments[..], &["--force", "--seed", "5", "--rate", "0.01"]].concat();
    kill_when("weights of a replacement", &again, || has("model.safetensors"));
    assert!(written == files(&path), "a run that was killed has changed the model");
    assert_eq!(run(&again).code, 0);
    assert_eq!(names(&out), ["tuned"]);
    assert!(written != files(&path));
}
