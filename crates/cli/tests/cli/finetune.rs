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
    run(&["finetune", &source, &to, "--task", "ner", "--data", &data, "--force"]).failed(2, "--task");
}
