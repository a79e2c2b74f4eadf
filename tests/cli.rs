//! The `mobilebert` command, run as users run it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing helper is a failing test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const QUESTION: [&str; 3] = ["answer", "--question", "Who built it?"];

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    /// Each line of the output as JSON.
    fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The one line of the output, of a run without complaints.
    fn line(&self) -> Value {
        assert_eq!(
            (self.code, self.stderr.as_str(), self.stdout.lines().count()),
            (0, "", 1),
            "{}",
            self.stdout
        );
        self.lines().remove(0)
    }

    fn failed(&self, code: i32, message: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        assert!(self.stderr.contains(message), "{message:?} in {:?}", self.stderr);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MOBILEBERT_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finished(output: Output) -> Run {
    Run {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Run {
    finished(command(args).output().unwrap())
}

/// With `input` through a pipe.
fn piped(args: &[&str], input: impl Into<Vec<u8>>) -> Run {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.into();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let run = finished(child.wait_with_output().unwrap());
    // A command that fails at once reads nothing.
    let _ = writer.join().unwrap();
    run
}

fn tiny(name: &str) -> String {
    format!("tests/golden/checkpoints/{name}")
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

// --- The exact forms that the documentation shows.

#[test]
fn answer_gives_byte_offsets() {
    let answer = run(&[&QUESTION[..], &["--context", "It was built by Ada.", "--json"]].concat()).line();
    assert_eq!(keys(&answer), ["score", "start", "end", "answer"]);
    assert_eq!(
        (&answer["start"], &answer["end"], &answer["answer"]),
        (&json!(16), &json!(19), &json!("Ada"))
    );
    assert!(answer["score"].as_f64().unwrap() > 0.9);
}

#[test]
fn classify_gives_label_and_score() {
    let label = run(&["classify", "a joy to watch", "--json"]).line();
    assert_eq!((keys(&label), &label["label"]), (vec!["label", "score"], &json!("positive")));
    assert!(label["score"].as_f64().unwrap() > 0.9);
}

#[test]
fn classify_writes_a_line_for_each_line() {
    let run = piped(&["classify", "-", "--json"], "a joy to watch\ndull and lifeless\n");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let labels: Vec<Value> = run.lines().iter().map(|line| line["label"].clone()).collect();
    assert_eq!(labels, ["positive", "negative"]);
}

#[test]
fn infer_shows_logits_of_each_head() {
    let logits = |model: &str| {
        run(&["infer", "--model", model, "--ids", "2,14,3", "--type-ids", "0,0,0", "--json"]).line()
    };
    let qa = logits(&tiny("mobilebert-f32"));
    assert_eq!(keys(&qa), ["logits"]);
    assert_eq!(keys(&qa["logits"]), ["start", "end"]);
    assert_eq!(qa["logits"]["end"].as_array().unwrap().len(), 3);
    assert!(logits(&tiny("bert-f32"))["logits"].as_array().unwrap().iter().all(Value::is_number));
    let rows = logits(&tiny("mobilebert-ner-f32"));
    assert_eq!(rows["logits"].as_array().unwrap().len(), 3);
    assert_eq!(rows["logits"][0].as_array().unwrap().len(), 5);
}

#[test]
fn infer_agrees_with_the_reference() {
    for model in ["mobilebert-f32", "bert-f32", "mobilebert-ner-f32", "mobilebert-mlm-f32"] {
        let expected = std::fs::read_to_string(Path::new(&tiny(model)).join("expected.json")).unwrap();
        let value: Value = serde_json::from_str(&expected).unwrap();
        let line = serde_json::to_string(&value).unwrap() + "\n";
        let found = piped(&["infer", "--model", &tiny(model), "--json", "-"], line).line();
        fn numbers(value: &Value) -> Vec<f64> {
            match value {
                Value::Array(values) => values.iter().flat_map(numbers).collect(),
                number => number.as_f64().into_iter().collect(),
            }
        }
        let found = match &found["logits"] {
            Value::Object(span) => {
                let (start, end) = (numbers(&span["start"]), numbers(&span["end"]));
                start.into_iter().zip(end).flat_map(|(s, e)| [s, e]).collect()
            }
            logits => numbers(logits),
        };
        let expected = numbers(&value["logits"]);
        assert_eq!(found.len(), expected.len(), "{model}");
        let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-5, "{model}: {far}");
    }
}

#[test]
fn infer_hashes_the_logits() {
    use sha2::Digest as _;
    let model = tiny("bert-f32");
    let args = ["infer", "--model", &model, "--ids", "2,14,3"];
    let logits = run(&[&args[..], &["--json"]].concat()).line();
    let bytes: Vec<u8> = logits["logits"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|v| v.to_string().parse::<f32>().unwrap().to_le_bytes())
        .collect();
    let expected: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(run(&[&args[..], &["--hash"]].concat()).stdout, expected.clone() + "\n");
    let line = piped(&["infer", "--model", &model, "-", "--hash", "--json"], "{\"ids\":[2,14,3]}");
    assert_eq!(line.line(), json!({ "sha256": expected }));
}

#[test]
fn tokenize_gives_ids_tokens_and_offsets() {
    let run = piped(&["tokenize", "--model", "models/qa", "--json", "-"], "hello\n\ncafé");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let specials = json!({"ids": [101, 102], "tokens": ["[CLS]", "[SEP]"], "offsets": [[0, 0], [0, 0]]});
    assert_eq!(
        run.stdout.lines().next(),
        Some(r#"{"ids":[101,7592,102],"tokens":["[CLS]","hello","[SEP]"],"offsets":[[0,0],[0,5],[0,0]]}"#)
    );
    assert_eq!(run.lines()[1], specials);
    assert_eq!(run.lines()[2]["offsets"], json!([[0, 0], [0, 5], [0, 0]]));
}

#[test]
fn tag_lists_entities() {
    let entities =
        run(&["tag", "--model", &tiny("mobilebert-ner-f32"), "anna works in paris", "--json"]).line();
    assert_eq!(keys(&entities[0]), ["entity_group", "score", "word", "start", "end"]);
    assert_eq!((&entities[0]["word"], &entities[0]["end"]), (&json!("anna"), &json!(4)));
    let args =
        ["tag", "--model", &tiny("mobilebert-ner-f32"), "anna", "--aggregation-strategy", "none", "--json"];
    let entities = run(&args).line();
    assert_eq!(keys(&entities[0]), ["entity", "score", "word", "start", "end"]);
}

#[test]
fn fill_mask_lists_words_for_each_mask() {
    let fill = |text: &str| {
        run(&["fill-mask", "--model", &tiny("mobilebert-mlm-f32"), text, "--top-k", "2", "--json"]).line()
    };
    let one = fill("paris is [MASK]");
    assert_eq!(one.as_array().unwrap().len(), 2);
    assert_eq!(keys(&one[0]), ["sequence", "score", "token", "token_str"]);
    let two = fill("[MASK] is [MASK]");
    assert_eq!((two.as_array().unwrap().len(), two[1].as_array().unwrap().len()), (2, 2));
}

#[test]
fn embed_gives_vectors_of_length_one() {
    let model = tiny("mobilebert-f32");
    let embedding = run(&["embed", "--model", &model, "paris", "--json"]).line();
    assert_eq!(keys(&embedding), ["embedding"]);
    let vector: Vec<f64> =
        embedding["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(vector.len(), 16);
    assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    let long = run(&["embed", "--model", &model, &"paris ".repeat(50), "--json"]).line();
    assert_eq!(long["truncated"], true);
}

// --- Options.

#[test]
fn answers_to_several_questions_carry_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", "It was built by Ada in London.\n");
    let more = write(folder.path(), "questions.txt", "Where was it built?\r\n\nWho?");
    let args = ["--context-file", &context, "--questions-file", &more, "--json"];
    let run = run(&[&QUESTION[..], &args].concat());
    let lines = run.lines();
    assert_eq!((run.code, lines.len()), (1, 4));
    assert_eq!(keys(&lines[0]), ["question_index", "score", "start", "end", "answer"]);
    assert_eq!((&lines[1]["question_index"], &lines[1]["answer"]), (&json!(1), &json!("London")));
    assert!(lines[2]["error"].as_str().unwrap().contains("questions.txt, line 2: the question is empty"));
    assert_eq!(lines[3]["question_index"], 3);
    assert_eq!(run.stderr, "mobilebert: 1 of 4 inputs failed\n");
}

#[test]
fn answer_lists_the_best_and_reads_standard_input() {
    let context =
        "It was built by Ada. ".to_owned() + &"Nothing else is known about the machine. ".repeat(500);
    let args = [&QUESTION[..], &["--context-file", "-", "--top-k", "3", "--json"]].concat();
    let run = piped(&args, context);
    assert_eq!((run.code, run.stderr.as_str(), run.lines().len()), (0, "", 3));
    assert_eq!(run.lines()[0]["answer"], "Ada");
}

#[test]
fn special_tokens_in_text_can_be_plain_text() {
    let question = "why [SEP] ".repeat(13);
    let answer = |more: &[&str]| {
        let args = ["answer", "--question", &question, "--context", "Ada", "--max-question-len", "30"];
        run(&[&args[..], more].concat())
    };
    // Thirteen words, and thirteen times one token or the three of `[`, `sep` and `]`.
    assert_eq!(answer(&[]).code, 0);
    answer(&["--no-special-tokens-in-text"]).failed(1, "the question has 52 tokens; the limit is 30");
}

#[test]
fn offsets_count_what_the_user_says() {
    let context = "😀é: it was built by Ada.";
    for (unit, start) in [("bytes", 24), ("chars", 20), ("utf16", 21)] {
        let args = [&QUESTION[..], &["--context", context, "--json", "--offsets", unit]].concat();
        let answer = run(&args).line();
        assert_eq!((&answer["start"], &answer["end"]), (&json!(start), &json!(start + 3)), "{unit}");
        let tokens = run(&["tokenize", "😀é", "--pair", "é x", "--json", "--offsets", unit]).line();
        let second = if unit == "bytes" { json!([3, 4]) } else { json!([2, 3]) };
        assert_eq!(tokens["offsets"][tokens["ids"].as_array().unwrap().len() - 2], second, "{unit}");
        assert_eq!(tokens["type_ids"][0], 0);
    }
    let model = tiny("mobilebert-ner-f32");
    let tags = run(&["tag", "--model", &model, "😀 anna", "--offsets", "chars", "--json"]).line();
    let anna = tags.as_array().unwrap().iter().find(|e| e["word"].as_str().unwrap().ends_with("anna"));
    assert_eq!(anna.unwrap()["end"], 6);
}

#[test]
fn classify_options_change_what_is_listed() {
    let classify = |args: &[&str]| run(&[&["classify", "a joy to watch", "--json"], args].concat()).line();
    let both = classify(&["--top-k", "5"]);
    assert_eq!(
        (keys(&both), both["labels"][1]["label"].as_str()),
        (vec!["label", "score", "labels"], Some("negative"))
    );
    assert_eq!(classify(&["--threshold", "1.5"]), json!({"label": null, "score": null}));
    assert_eq!(classify(&["--labels", "negative"])["label"], "negative");
    assert!(classify(&["--function-to-apply", "none"])["score"].as_f64().unwrap() > 1.0);
    let long = run(&["classify", "--json", &"a joy to watch ".repeat(300)]).line();
    assert_eq!(long["truncated"], true);
    run(&["classify", &"a joy ".repeat(400), "--long-text", "refuse"]).failed(1, "tokens; the limit is 512");
}

#[test]
fn the_longest_sequence_can_be_chosen() {
    let model = tiny("mobilebert-ner-f32");
    let text = "anna works in paris and berlin";
    let entities = |more: &[&str]| {
        run(&[&["tag", "--model", &model, text, "--ignore-labels", "", "--json"], more].concat()).line()
    };
    let last = |entities: &Value| entities.as_array().unwrap().last().unwrap()["end"].clone();
    let windows = entities(&["--max-seq-len", "5", "--doc-stride", "1"]);
    assert_eq!(last(&windows), last(&entities(&[])));
    run(&["tag", "--model", &model, text, "--max-seq-len", "5", "--doc-stride", "3"])
        .failed(2, "--doc-stride is 3; expected less than 3, the room for text in --max-seq-len 5");
    let long = "a joy to watch";
    let classify = |more: &[&str]| run(&[&["classify", long, "--max-seq-len", "5", "--json"], more].concat());
    assert_eq!(classify(&[]).line()["truncated"], true);
    let windows = classify(&["--long-text", "windows-mean", "--doc-stride", "1"]).line();
    assert_eq!(keys(&windows), ["label", "score"]);
    let model = tiny("mobilebert-f32");
    let embedding = run(&["embed", "--model", &model, "anna works in paris", "--max-seq-len", "4", "--json"]);
    assert_eq!(embedding.line()["truncated"], true);
    run(&["embed", "--model", &model, "x", "--max-seq-len", "9999"]).failed(2, "--max-seq-len is 9999");
}

#[test]
fn people_get_plain_lines() {
    let answer = run(&[&QUESTION[..], &["--context", "It was built by Ada."]].concat());
    assert!(answer.stdout.starts_with("Ada\t0.9"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("\t16..19\n"), "{}", answer.stdout);
    let labels = piped(&["classify", "-"], "a joy\n\n");
    let lines: Vec<&str> = labels.stdout.lines().collect();
    assert!(lines[0].starts_with("positive\t0.") && lines[0].ends_with("\ta joy"), "{}", lines[0]);
    assert!(lines[1].starts_with("error: stdin, line 2: the text is empty"), "{}", lines[1]);
}

#[test]
fn variables_stand_for_flags_and_flags_win() {
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        finished(command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let json = run(&["classify", "a joy"], &[("MOBILEBERT_JSON", "1"), ("MOBILEBERT_TOP_K", "2")]);
    assert_eq!(json.line()["labels"].as_array().unwrap().len(), 2);
    let plain = run(&["classify", "a joy"], &[("MOBILEBERT_JSON", "0")]);
    assert!(plain.stdout.starts_with("positive\t"));
    let tiny = tiny("bert-f32");
    let variables = [("MOBILEBERT_MODEL", "/nowhere"), ("MOBILEBERT_IDS", "2,3")];
    assert_eq!(run(&["infer", "--model", &tiny, "--hash"], &variables).code, 0);
    run(&["infer", "--hash"], &variables).failed(1, "no model at \"/nowhere\"");
    run(&["classify", "a joy"], &[("MOBILEBERT_KERNELS", "abacus")])
        .failed(2, "MOBILEBERT_KERNELS is `abacus`; expected one that this CPU has: `");
}

#[test]
fn flags_win_over_variables_that_do_not_go_with_them() {
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        finished(command(args).envs(variables.iter().copied()).output().unwrap())
    };
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", "It was built by Ada.");
    let questions =
        write(folder.path(), "in.jsonl", r#"{"question":"Where?","context":"It stands in Rome."}"#);
    let texts = write(folder.path(), "in.txt", "dull");
    let from_file = [&QUESTION[..], &["--context-file", &context, "--json"]].concat();
    for variable in ["MOBILEBERT_CONTEXT", "MOBILEBERT_INPUT"] {
        assert_eq!(run(&from_file, &[(variable, &questions)]).line()["answer"], "Ada", "{variable}");
    }
    let variables = [("MOBILEBERT_QUESTION", "Who?"), ("MOBILEBERT_CONTEXT_FILE", "/nowhere")];
    assert_eq!(run(&["answer", "--input", &questions, "--json"], &variables).line()["answer"], "Rome");
    let text = run(&["classify", "a joy", "--json"], &[("MOBILEBERT_INPUT", &texts)]);
    assert_eq!(text.line()["label"], "positive");
    // Nothing on the command line decides between two variables.
    run(&QUESTION, &[("MOBILEBERT_CONTEXT", "x"), ("MOBILEBERT_CONTEXT_FILE", "y")])
        .failed(2, "cannot be used with");
}

#[test]
fn every_flag_is_in_the_help() {
    for command in [
        "answer",
        "classify",
        "tag",
        "fill-mask",
        "embed",
        "tokenize",
        "inspect",
        "infer",
        "convert",
        "quantize",
    ] {
        let help = run(&[command, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{command}");
        for part in ["Example", "--model <SOURCE>", "MOBILEBERT_THREADS", "Exit codes:"] {
            assert!(help.stdout.contains(part), "{part} in {command}");
        }
    }
    let help = run(&["--help"]);
    assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("Examples:"));
}

/// Examples and tables are set by hand; wrapping them again would leave ragged lines.
#[test]
fn help_fits_a_terminal() {
    let names =
        "answer classify tag fill-mask embed tokenize inspect infer convert quantize bench profile kernels";
    for command_ in [""].into_iter().chain(names.split(' ')) {
        let args: Vec<&str> = [command_, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let help = |columns| finished(command(&args).env("COLUMNS", columns).output().unwrap()).stdout;
        let end = |help: &str| help[help.rfind("\nExample").unwrap()..].to_owned();
        let (narrow, wide) = (help("80"), help("200"));
        assert_eq!(end(&narrow), end(&wide), "{command_}");
        let longest = narrow.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 80, "{command_}: {longest}");
    }
}

// --- Models.

#[test]
fn inspect_describes_a_model() {
    let model = run(&["inspect", "--model", "sentiment", "--json"]).line();
    assert_eq!(model["class"], "MobileBertForSequenceClassification");
    assert_eq!(model["labels"], json!(["negative", "positive"]));
    assert_eq!(model["config"]["num_hidden_layers"], 6);
    assert_eq!(model["files"][0]["sha256"].as_str().unwrap().len(), 64);
    let tensors = model["tensors"].as_array().unwrap();
    let bytes = |dtype: &str| {
        let of_type = tensors.iter().filter(|t| t["dtype"] == dtype);
        of_type.map(|t| t["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(model["totals"]["I8"]["bytes"], bytes("I8"));
    assert!(run(&["inspect", "--model", "sentiment"]).stdout.contains("negative, positive"));
}

#[test]
fn convert_writes_a_model_with_the_hash_of_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("model").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/convert/onnx-mobilebert-qa");
    let report = run(&["convert", source, &destination, "--verify", "--json"]).line();
    assert_eq!(report["class"], "MobileBertForQuestionAnswering");
    let inspected = run(&["inspect", "--model", &tiny("mobilebert-f32"), "--json"]).line();
    assert_eq!(report["content_sha256"], inspected["content_sha256"]);
    let layers = report["verification"]["layers"].as_array().unwrap();
    assert_eq!(
        layers.iter().map(|l| l["layer"].as_str().unwrap()).collect::<Vec<_>>(),
        ["embeddings", "encoder.layer.0", "encoder.layer.1", "head"]
    );
    assert!(
        layers.iter().all(|layer| layer["deviation"] == 0.0 && layer["magnitude"].as_f64().unwrap() > 0.0)
    );

    run(&["convert", source, &destination]).failed(1, "already exists");
    let forced = run(&["convert", source, &destination, "--force"]);
    assert!(forced.code == 0 && forced.stdout.contains("ONNX"), "{}", forced.stdout);
    run(&["convert", source]).failed(2, "<DEST>");
    let vocabulary =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/convert/onnx-mobilebert-qa/vocab.txt");
    run(&["convert", vocabulary, &destination, "--force"]).failed(1, "something else");
}

#[test]
fn quantize_writes_a_model_that_answers_alike() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("int8").display().to_string();
    let report = run(&["quantize", &tiny("bert-f32"), &destination, "--json"]).line();
    assert!(report["quantized_tensors"].as_u64().unwrap() > 0);
    assert_eq!(run(&["classify", "--model", &destination, "good film", "--json"]).code, 0);
    run(&["quantize", &tiny("bert-f32"), &destination]).failed(1, "already exists");
}

// --- Batch files.

#[test]
fn tables_with_marks_and_line_ends_of_windows() {
    let folder = tempfile::tempdir().unwrap();
    let tsv = "\u{feff}id\tsentence\r\n1\ta \"joy\" to watch\r\n2\tdull\r\n";
    let csv = "\u{feff}id,sentence\r\n1,\"a joy, to\nwatch\"\r\n2,dull\r\n";
    let jsonl = "\u{feff}{\"id\":1,\"sentence\":\"a joy to watch\"}\r\n{\"sentence\":\"dull\"}\r\n";
    for (name, content) in [("a.tsv", tsv), ("b.csv", csv), ("c.jsonl", jsonl)] {
        let file = write(folder.path(), name, content);
        let run = run(&["classify", "--input", &file, "--text-column", "sentence", "--json"]);
        let labels: Vec<Value> = run.lines().iter().map(|line| line["label"].clone()).collect();
        assert_eq!(
            (run.code, run.stderr.as_str(), labels),
            (0, "", vec![json!("positive"), json!("negative")]),
            "{name}"
        );
    }
}

#[test]
fn output_tables_repeat_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(folder.path(), "in.csv", "id,text\n1,\"a joy, to watch\"\n2,\n3\n4,dull\n");
    let output = folder.path().join("out.csv");
    let args = ["classify", "--input", &input, "--output", &output.display().to_string()];
    let run_ = run(&args);
    assert_eq!((run_.code, run_.stdout.as_str()), (1, ""));
    assert_eq!(run_.stderr, "mobilebert: 2 of 4 inputs failed\n");
    let text = std::fs::read_to_string(&output).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("id,text,label,score,truncated,error", 5));
    assert!(lines[1].starts_with("1,\"a joy, to watch\",positive,0.9"), "{}", lines[1]);
    assert!(lines[1].ends_with(",false,"), "{}", lines[1]);
    assert!(lines[2].starts_with("2,,,,,") && lines[2].contains("line 3: the text is empty"), "{}", lines[2]);
    assert!(lines[3].contains("has 1 columns; expected 2"), "{}", lines[3]);
    assert!(lines[4].starts_with("4,dull,negative,"), "{}", lines[4]);
    run(&["classify", "--input", &input, "--output", &input]).failed(2, "is the file of --input");
    run(&["tag", "--input", &input, "--output", "x.csv", "--model", &tiny("mobilebert-ner-f32")])
        .failed(2, "this command writes .jsonl files");
}

#[test]
fn tsv_is_written_as_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let rows = ["id\ttext", "\"1\"\ta \"joy\", to watch", "2\t\"dull"];
    let input = write(folder.path(), "in.tsv", rows.join("\n") + "\n");
    let results = |input: &str, name: &str| {
        let output = folder.path().join(name).display().to_string();
        assert_eq!(run(&["classify", "--input", input, "--output", &output]).code, 0, "{name}");
        (std::fs::read_to_string(&output).unwrap(), output)
    };
    let (first, output) = results(&input, "once.tsv");
    for (line, row) in first.lines().zip(rows) {
        assert!(line.starts_with(&format!("{row}\t")), "{line}");
    }
    let (second, _) = results(&output, "twice.tsv");
    for (line, row) in second.lines().zip(first.lines()) {
        assert!(line.starts_with(&format!("{row}\t")), "{line}");
    }
    let csv = write(folder.path(), "in.csv", "text\n\"a\tjoy\r\nto \"\"watch\"\"\"\n");
    let (table, _) = results(&csv, "csv.tsv");
    assert!(table.lines().nth(1).unwrap().starts_with("a joy  to \"watch\"\tpositive\t"), "{table}");
}

#[test]
fn columns_go_by_name_or_number() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(folder.path(), "in.tsv", "a\tjoy\tto watch\ndull\tx\ty\n");
    let classify = |args: &[&str]| run(&[&["classify", "--json", "--input", &input], args].concat());
    assert_eq!(classify(&["--no-header"]).lines().len(), 2);
    assert_eq!(classify(&["--text-column", "joy"]).lines().len(), 1);
    assert_eq!(classify(&["--text-column", "1", "--pair-column", "3"]).lines().len(), 1);
    classify(&["--text-column", "4"])
        .failed(1, "no column `4`; it has a, joy, to watch; choose with --text-column");
    classify(&[]).failed(1, "no column `text`");
    let other = write(folder.path(), "in.parquet", "");
    run(&["classify", "--input", &other]).failed(2, "expected the extension .tsv, .csv, .jsonl or .txt");
}

#[test]
fn answer_reads_questions_with_contexts() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        json!({"question": "Who built it?", "context": "It was built by Ada."}),
        json!({"question": "Who built it?"}),
        json!({"question": "Where?", "context": "It stands in Rome."}),
    ];
    let text = rows.map(|row| row.to_string() + "\n").concat();
    let input = write(folder.path(), "in.jsonl", text);
    let run = run(&["answer", "--input", &input, "--json"]);
    let lines = run.lines();
    assert_eq!((run.code, lines.len(), &lines[0]["answer"]), (1, 3, &json!("Ada")));
    assert!(lines[1]["error"].as_str().unwrap().ends_with("line 2: no field `context`; it has question"));
    assert_eq!((&lines[2]["question_index"], &lines[2]["answer"]), (&json!(2), &json!("Rome")));
}

// --- Bad and hostile input.

#[test]
fn bad_lines_keep_their_place() {
    let run = piped(&["classify", "-", "--json"], b"a joy\r\n\n \t\n\xff\nab\xc3\n\0 joy \0\ndull".to_vec());
    let lines = run.lines();
    assert_eq!((run.code, lines.len()), (1, 7));
    let error = |i: usize| lines[i]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(1).starts_with("stdin, line 2: the text is empty"), "{}", error(1));
    assert!(error(2).starts_with("stdin, line 3: the text is empty"), "{}", error(2));
    assert_eq!(error(3), "stdin, line 4: byte 0: expected UTF-8; found 0xff");
    assert_eq!(error(4), "stdin, line 5: byte 2: expected UTF-8; found 0xc3");
    assert_eq!((&lines[5]["label"], &lines[6]["label"]), (&json!("positive"), &json!("negative")));
    assert_eq!(run.stderr, "mobilebert: 4 of 7 inputs failed\n");
}

#[test]
fn a_context_file_has_to_be_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", b"first\nsec\xe2\x28ond");
    run(&[&QUESTION[..], &["--context-file", &context]].concat())
        .failed(1, "context.txt, line 2: byte 3: expected UTF-8; found 0xe2");
    run(&[&QUESTION[..], &["--context-file", "missing.txt"]].concat()).failed(1, "missing.txt: ");
}

#[test]
fn empty_and_long_texts_are_errors() {
    run(&["classify", ""]).failed(1, "the text is empty");
    run(&[&QUESTION[..], &["--context", " \n"]].concat()).failed(1, "the context is empty");
    piped(&[&QUESTION[..], &["--context", "-"]].concat(), "\0 \n").failed(1, "the context is empty");
    run(&["answer", "--question", " ", "--context", "Ada"]).failed(1, "the question is empty");
    let question = "why ".repeat(100);
    run(&["answer", "--question", &question, "--context", "Ada"]).failed(
        1,
        "the question has 100 tokens; the limit is 64: ask a shorter one or raise --max-question-len",
    );
    run(&["fill-mask", "--model", &tiny("mobilebert-mlm-f32"), "paris"]).failed(1, "has no [MASK]");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    run(&[]).failed(2, "Usage: mobilebert");
    run(&["classify"]).failed(2, "required arguments were not provided");
    run(&["classify", "x", "--labels", "bad"])
        .failed(2, "--labels is bad; expected some of negative, positive");
    run(&["classify", "x", "--top-k", "0"]).failed(2, "--top-k is 0; expected at least 1");
    run(&["classify", "x", "--threads", "0"]).failed(2, "--threads is 0");
    run(&["classify", "x", "--backend", "abacus"]).failed(2, "`abacus`");
    run(&["embed", "x", "--pooling", "max"]).failed(2, "`mean` or `cls`");
    run(&["answer", "--question", "Who?"]).failed(2, "pass --context, --context-file or --input");
    run(&["answer", "--context", "x"]).failed(2, "pass --question, --questions-file or --input");
    run(&["answer", "--context", "-", "--questions-file", "-"]).failed(2, "cannot be both");
    run(&["infer"]).failed(2, "required arguments");
    run(&["tokenize", "x", "--batch-size", "2"]).failed(2, "unexpected argument '--batch-size'");
    run(&["tag", "x"]).failed(2, "tag has no built-in model; pass --model FOLDER or a hub id");
    run(&["fill-mask", "x"]).failed(2, "fill-mask has no built-in model; pass --model FOLDER or a hub id");
}

#[test]
fn models_that_cannot_be_used_are_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    run(&["classify", "x", "--model", "/nowhere/at/all"]).failed(1, "no model at \"/nowhere/at/all\"");
    run(&["classify", "x", "--model", &empty]).failed(1, "has none of these files: config.json");
    run(&["classify", "x", "--model", "qa"]).failed(1, "text classification needs a");
    run(&["infer", "--ids", "101,99999"]).failed(1, "token id is 99999; expected below 30522");
    run(&["infer", "--ids", "101,102", "--type-ids", "0"]).failed(1, "number of type ids is 1");
    let bad = piped(&["infer", "--model", &tiny("bert-f32"), "--json", "-"], "{\"ids\":[2,3]}\n{}\n");
    assert_eq!((bad.code, keys(&bad.lines()[1])), (1, vec!["error"]));
}

// --- Pipes.

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
