//! The command `mobilebert-bench`, on a tiny model.

use std::process::{Command, Output};

use serde_json::Value;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bindings/vectors/models/ner");

fn run(model: &str, flags: &[&str]) -> Output {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_mobilebert-bench"));
    command.args(["--model", model, "--warmup-runs", "1"]).args(flags);
    if !flags.contains(&"--num-runs") {
        command.args(["--num-runs", "3"]);
    }
    command.output().unwrap()
}

fn printed(flags: &[&str]) -> String {
    let output = run(MODEL, flags);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn latency_is_measured() {
    let flags = ["--seq-len", "8", "--min-secs", "0", "--threads", "1", "--precision", "f32"];
    let found: Value = serde_json::from_str(&printed(&[&flags[..], &["--json"]].concat())).unwrap();
    assert_eq!((&found["seq_len"], &found["threads"], &found["runs"]), (&8.into(), &1.into(), &3.into()));
    assert_eq!((&found["precision"], &found["backend"]), (&"f32".into(), &"native".into()));
    assert!(found["p50_ms"].as_f64().unwrap() > 0.0 && found["load_ms"].as_f64().unwrap() > 0.0, "{found}");
    let text = printed(&flags);
    assert!(text.contains("1 x 8 tokens, unpadded") && text.contains("of 3 runs"), "{text}");
}

#[test]
fn operations_are_listed() {
    let text = printed(&["--seq-len", "8", "--profile"]);
    for part in ["\noperation ", "\nkind ", "outside operations", "encoder.layer.0"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let found: Value = serde_json::from_str(&printed(&["--seq-len", "8", "--profile", "--json"])).unwrap();
    assert_eq!(found["wall_ns"].as_array().unwrap().len(), 3);
}

#[test]
fn wrong_flags_are_named() {
    for (model, flags, problem) in [
        (MODEL, &["--seq-len", "0"][..], "--seq-len is 0; expected 1 to "),
        (MODEL, &["--seq-len", "8", "--batch", "0"], "--batch is 0; expected 1 to "),
        (MODEL, &["--profile", "--num-runs", "4294967295"], "--num-runs is 4294967295; expected 1 to "),
        (MODEL, &["--profile", "--num-runs", "0"], "--num-runs is 0; expected 1 to "),
        (
            MODEL,
            &["--min-secs", "inf", "--max-secs", "nan"],
            "--min-secs is inf; expected 0 to 86400 seconds",
        ),
        (MODEL, &["--max-secs", "nan"], "--max-secs is NaN; expected 0 to "),
        (MODEL, &["--threads", "1000000"], "--threads is 1000000; expected 1 to "),
        ("nothing/here", &[], "nothing/here"),
    ] {
        let output = run(model, flags);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(problem), "{flags:?}: {message}");
    }
}
