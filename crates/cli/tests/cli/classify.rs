//! `mobilebert classify`, and what all commands on texts share: lines and batch files.

use serde_json::{Value, json};

use crate::support::{keys, piped, run, tiny, write};

#[test]
fn classify_gives_label_and_score() {
    let label = run(&["classify", "a joy to watch", "--json"]).line();
    assert_eq!((keys(&label), &label["label"]), (vec!["label", "score"], &json!("positive")));
    assert!(label["score"].as_f64().unwrap() > 0.9);
}

#[test]
fn precisions_agree_on_an_easy_sentence() {
    let score = |precision: &str| {
        let label = run(&["classify", "a joy to watch", "--precision", precision, "--json"]).line();
        assert_eq!(label["label"], "positive", "{precision}");
        label["score"].as_f64().unwrap()
    };
    let [f32, bf16, int8] = ["f32", "bf16", "int8"].map(score);
    assert!(bf16 != f32 && (bf16 - f32).abs() < 0.02 && (int8 - f32).abs() < 0.05, "{f32} {bf16} {int8}");
    run(&["classify", "a", "--precision", "f16"]).failed(2, "`int8`, `bf16` or `f32`");
    #[cfg(feature = "candle")]
    run(&["classify", "a", "--backend", "candle", "--precision", "bf16"]).failed(2, "--precision is `bf16`");
}

#[test]
fn classify_writes_a_line_for_each_line() {
    let run = piped(&["classify", "-", "--json"], "a joy to watch\ndull and lifeless\n");
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let labels: Vec<Value> = run.lines().iter().map(|line| line["label"].clone()).collect();
    assert_eq!(labels, ["positive", "negative"]);
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
    run(&["classify", "--input", &input, "--output", &input]).failed(2, "is read from");
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
    let names = "id\ttext\tinput_label\tinput_score\tinput_truncated\tinput_error\tlabel\t";
    assert!(second.starts_with(names), "{second}");
    for (line, row) in second.lines().zip(first.lines()).skip(1) {
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
    classify(&["--text-column", "4"]).failed(
        1,
        "line 1: no column `4`; it has a, joy, to watch; choose with --text-column; pass --no-header if the first line \
         is data",
    );
    classify(&[]).failed(1, "no column `text`");
    let other = write(folder.path(), "in.parquet", "");
    run(&["classify", "--input", &other]).failed(2, "expected the extension .tsv, .csv, .jsonl or .txt");
}

/// The names of labels come with a model, which may be anybody's.
#[test]
fn labels_with_control_characters_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints/bert-f32");
    for entry in std::fs::read_dir(source).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (_, label) in config["id2label"].as_object_mut().unwrap() {
        *label = format!("{}\n\t\u{1b}[31m", label.as_str().unwrap()).into();
    }
    config.as_object_mut().unwrap().remove("label2id");
    std::fs::write(&path, config.to_string()).unwrap();
    let model = folder.path().display().to_string();
    for args in [&["classify", "good film", "--model", &model][..], &["inspect", "--model", &model]] {
        let found = run(args).stdout;
        assert!(found.contains("\\n\\t\\u{1b}[31m") && !found.contains('\u{1b}'), "{found}");
    }
    assert_eq!(run(&["classify", "good film", "--model", &model]).stdout.lines().count(), 1);
}
