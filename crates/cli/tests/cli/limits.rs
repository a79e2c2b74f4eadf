//! Numbers that memory is taken for, texts that look like flags, and what the command says of itself.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{command, finished, piped, run};

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let most = 16.max(4 * std::thread::available_parallelism().map_or(1, usize::from));
    let bench = |args: &[&str]| run(&[&["bench", "--model", "synthetic:mobilebert"], args].concat());
    bench(&["--seq-len", "1000000000000"])
        .failed(2, "--seq-len is 1000000000000; expected 1 to 512, the model's limit");
    bench(&["--seq-len", "0"]).failed(2, "--seq-len is 0; expected 1 to 512");
    bench(&["--batch", "100000000000"])
        .failed(2, "--batch is 100000000000; expected 1 to 512, at most 65536");
    bench(&["--batch", "0"]).failed(2, "--batch is 0");
    bench(&["--num-runs", "1000000000000"]).failed(2, "0..=1000000");
    let profile = ["profile", "--seq-len", "1000000000000"];
    run(&profile).failed(2, "--seq-len is 1000000000000; expected 1 to 512");
    run(&["profile", "--num-runs", "1000000000000"]).failed(2, "0..=1000000");
    run(&["sqnr", "--model", "synthetic:mobilebert", "--seq-len", "1000000000000"]).failed(2, "--seq-len is");
    run(&["classify", "x", "--batch-size", "100000000000"]).failed(2, "1..=1024");
    run(&["classify", "x", "--top-k", "100000000000"]).failed(2, "0..=1000000");
    let answer = ["answer", "--question", "Who?", "--context", "Ada", "--top-k", "100000000000"];
    run(&answer).failed(2, "0..=1000");
    for threads in ["999", "1000000000000"] {
        run(&["classify", "x", "--threads", threads])
            .failed(2, &format!("--threads is {threads}; expected 1 to {most} on this machine"));
    }
    assert_eq!(run(&["classify", "a joy", "--threads", &most.to_string()]).code, 0);
}

/// The whole line takes more than ten seconds to tokenise in this build.
#[test]
fn a_long_line_is_read_as_far_as_the_model_reads() {
    let line = "a joy to watch and not a minute too long ".repeat(50 * 1024 * 1024 / 41);
    let start = line[..1 << 15].to_owned();
    for args in [&["classify", "-", "--json"][..], &["embed", "-", "--json", "--model", "sentiment"]] {
        let began = Instant::now();
        let whole = piped(args, line.as_str());
        let took = began.elapsed();
        assert_eq!((whole.code, whole.lines()[0]["truncated"].as_bool()), (0, Some(true)));
        assert_eq!(whole.stdout, piped(args, start.as_str()).stdout);
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let pair = piped(&["classify", "-", "--json", "--pair", "dull"], line.as_str());
    assert_eq!(pair.stdout, piped(&["classify", "-", "--json", "--pair", "dull"], start.as_str()).stdout);
}

#[test]
fn texts_may_begin_with_a_hyphen() {
    let text = run(&["classify", "-5 stars, dull", "--json"]).line();
    assert_eq!(text["label"], "negative");
    for text in ["- a joy", "--- a joy to watch", "-1", "-:)"] {
        assert!(run(&["classify", text, "--top-k", "2", "--json"]).line()["labels"][1].is_object());
    }
    let dashes = run(&["classify", "--json", "--", "-great"]);
    assert_eq!(dashes.line()["label"], "positive");
    for text in ["-h is for a joy to watch", "-V is for a joy to watch"] {
        let line = run(&["classify", "--json", text]).line();
        assert_eq!(line["label"], "positive", "{line}");
    }
    assert!(run(&["classify", "-h"]).stdout.contains("Usage: mobilebert classify"));
    run(&["classify", "--josn", "x"]).failed(2, "unexpected argument '--josn'");
    run(&["classify", "-x"]).failed(2, "unexpected argument '-x'");
    run(&["inspect", "-5 stars"]).failed(2, "unexpected argument '-5'");
}

#[test]
fn inspect_describes_synthetic_models() {
    let description = run(&["inspect", "--model", "synthetic:mobilebert", "--json"]).line();
    assert_eq!(description["class"], "MobileBertForQuestionAnswering");
    assert_eq!(description["config"]["num_hidden_layers"], 24);
    assert!(description["parameters"].as_u64().unwrap() > 24_000_000);
    assert!(description["tensors"].as_array().unwrap().len() > 1000);
    let plain = run(&["inspect", "--model", "synthetic:bert-base"]);
    assert!(plain.code == 0 && plain.stdout.contains("tokenizer     none"), "{}", plain.stderr);
    run(&["inspect", "--model", "synthetic:x"]).failed(1, "use synthetic:mobilebert");
}

#[test]
fn shells_complete_commands_and_flags() {
    for (shell, word) in
        [("bash", "complete"), ("zsh", "#compdef mobilebert"), ("fish", "complete -c mobilebert")]
    {
        let script = run(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""));
        for part in [word, "fill-mask", "aggregation-strategy"] {
            assert!(script.stdout.contains(part), "{shell}: {part}");
        }
    }
    run(&["completions", "tcl"]).failed(2, "bash");
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for args in
        [&["help"][..], &["--help"], &["classify", "--help"], &["--version"], &["completions", "bash"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = finished(command(args).stdout(Stdio::from(full)).output().unwrap());
        assert_eq!(run.code, 1, "{args:?}");
        assert!(run.stderr.starts_with("mobilebert: stdout: No space left"), "{}", run.stderr);
    }
}

#[cfg(not(feature = "candle"))]
#[test]
fn what_the_feature_candle_brings_is_said_with_the_command_that_brings_it() {
    let folder = tempfile::tempdir().unwrap();
    let commands =
        ["cargo run --release --features candle -- ...", "cargo install --path crates/cli --features candle"];
    let destination = folder.path().join("out").display().to_string();
    let finetune = ["finetune", "qa", &destination, "--task", "sst2", "--data", "x.tsv"];
    for args in [&["classify", "a joy", "--backend", "candle"][..], &finetune] {
        let run = run(args);
        run.failed(1, "is not part of this build; the feature `candle` brings it");
        for command in commands {
            assert!(run.stderr.contains(command), "{}", run.stderr);
        }
    }
    let verified = run(&["convert", &crate::support::tiny("mobilebert-f32"), &destination, "--verify"]);
    assert_eq!((verified.code, verified.stderr.as_str()), (0, ""));
    for part in
        [&["verified by the native engine itself; the feature `candle` brings the"], &commands[..1]].concat()
    {
        assert!(verified.stdout.contains(part), "{}", verified.stdout);
    }
}

/// 32,768 tokens in one pass, which is half of what is allowed. They took 164 MB at most. `tests/large_batches.rs` runs
/// as many through one layer.
#[test]
#[ignore = "two passes of 12 seconds each"]
fn bench_runs_64_sequences_of_512_tokens_in_bounded_memory() {
    let bench = ["bench", "--model", "qa", "--json", "--threads", "2", "--batch", "64", "--seq-len", "512"];
    let once = ["--warmup-runs", "0", "--num-runs", "1", "--min-secs", "0"];
    let report = run(&[&bench[..], &once].concat()).line();
    assert_eq!((report["batch"].as_u64(), report["seq_len"].as_u64()), (Some(64), Some(512)));
    #[cfg(target_os = "linux")]
    {
        let peak = report["peak_rss_mb"].as_f64().unwrap();
        assert!(peak < 400.0, "{peak} MB");
    }
}
