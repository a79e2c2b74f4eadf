//! Batch files that a lenient reader would misread: each is read rightly, or refused with line and reason.

use serde_json::{Value, json};

use crate::support::{Run, command, finished, piped, run, tiny, write};

fn classify(file: &str, more: &[&str]) -> Run {
    run(&[&["classify", "--json", "--input", file], more].concat())
}

fn labels(run: &Run) -> Vec<String> {
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    run.lines().iter().map(|line| line["label"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn quotation_marks_that_do_not_close_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let read = |content: &str| classify(&write(folder.path(), "in.csv", content), &[]);
    let never = read("text,id\na joy,1\n\"dull,2\na joy,3\n");
    assert_eq!((never.code, never.lines().len()), (1, 1), "the row in front of it is read");
    let expected = "in.csv, line 3: the quotation mark that opens here is never closed";
    assert!(never.stderr.contains(expected), "{}", never.stderr);

    let later = read("text,id\n\"dull,1\na joy,2\n\"bad\",3\n");
    let expected = "line 2: the quotation mark that opens here is closed in line 4 in front of `b`";
    assert!(later.code == 1 && later.stderr.contains(expected), "{}", later.stderr);
    let backslash = read("text,id\n\"a \\\"joy\\\" to watch\",1\n");
    assert!(backslash.code == 1 && backslash.stderr.contains("is doubled"), "{}", backslash.stderr);
    assert_eq!(labels(&read("text,id\na \"joy\" to watch,1\n\n\"a \"\"joy\"\"\",2")), ["positive"; 2]);
}

#[test]
fn separators_are_found_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |content: &str| write(folder.path(), "in.csv", content);
    for mark in [";", "|", "\t"] {
        let table = file(&format!("id{mark}text\n1{mark}a joy, to watch\n2{mark}dull\n"));
        assert_eq!(labels(&classify(&table, &[])), ["positive", "negative"], "{mark:?}");
    }
    let numbered = file("1;a joy, to watch\n2;a joy, too\n");
    let columns = ["--no-header", "--text-column", "2"];
    let chosen = classify(&numbered, &[&columns[..], &["--delimiter", ";"]].concat());
    assert_eq!(labels(&chosen), ["positive"; 2]);
    classify(&file("1;dull\n2;a joy\n"), &columns)
        .failed(1, "line 1: it is one column if cells end at `,` and 2 if they end at `;`; say which");
    let texts = file("text\na joy; really\n");
    assert_eq!(labels(&classify(&texts, &[])), ["positive"], "a header of one column decides");
    let tsv = write(folder.path(), "in.tsv", "text\tid\na joy\t1\n");
    classify(&tsv, &["--delimiter", ","]).failed(2, "--delimiter goes with CSV");
    assert_eq!(labels(&classify(&tsv, &["--format", "csv", "--delimiter", "tab"])), ["positive"]);
    classify(&tsv, &["--format", "csv", "--delimiter", "ab"]).failed(2, "--delimiter");
}

#[test]
fn a_first_line_that_is_no_header_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["in.csv", "in.tsv"] {
        let file = write(folder.path(), name, "a joy to watch\ndull\n");
        classify(&file, &[]).failed(
            1,
            "line 1: no column `text`; it has a joy to watch; choose with --text-column; pass --no-header if the first \
             line is data",
        );
        assert_eq!(labels(&classify(&file, &["--no-header"])), ["positive", "negative"]);
        assert_eq!(labels(&classify(&file, &["--text-column", "1"])), ["negative"]);
    }
    let old = write(folder.path(), "mac.csv", "text,id\ra joy,1\rdull,2\r");
    classify(&old, &[]).failed(1, "comes a \\r without \\n");
    let twice = write(folder.path(), "twice.csv", "text,text\na joy,dull\n");
    classify(&twice, &[]).failed(1, "there are two columns `text`");
}

#[test]
fn headers_are_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "in.csv", "id, text \n1,a joy\n");
    assert_eq!(labels(&classify(&file, &[])), ["positive"]);
    let output = folder.path().join("out.csv").display().to_string();
    assert_eq!(run(&["classify", "--input", &file, "--output", &output]).code, 0);
    assert!(std::fs::read_to_string(&output).unwrap().starts_with("id,text,label,"));
}

#[test]
fn utf_16_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = "text,id\r\na joy,1\r\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, bytes, name) in [
        (&b"\xff\xfe"[..], &little, "little"),
        (b"", &little, "little"),
        (b"\xfe\xff", &big, "big"),
        (b"", &big, "big"),
    ] {
        let expected = format!("line 1: the text is UTF-16 ({name}-endian); expected UTF-8");
        for file in ["in.csv", "in.tsv", "in.jsonl", "in.txt"] {
            classify(&write(folder.path(), file, [mark, bytes].concat()), &[]).failed(1, &expected);
        }
        if !mark.is_empty() {
            piped(&["classify", "-"], [mark, bytes].concat()).failed(1, &expected);
        }
    }
}

#[test]
fn standard_input_is_a_batch_file_with_a_format() {
    let csv = "id,text\n1,a joy\n2,dull\n";
    let args = ["classify", "--json", "--input", "-"];
    assert_eq!(labels(&piped(&[&args[..], &["--format", "csv"]].concat(), csv)), ["positive", "negative"]);
    let pipe = piped(&args, csv);
    pipe.failed(2, "pass --format tsv, csv, jsonl or txt with --input -");
    let rows = r#"{"question": "Who built it?", "context": "Ada built it."}"#;
    let answer = piped(&["answer", "--json", "--input", "-", "--format", "jsonl"], rows);
    assert_eq!(answer.line()["answer"], "Ada");
}

#[test]
fn json_lines_keep_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let results = |command: &str, input: &str, more: &[&str]| -> (i32, Vec<Value>) {
        let output = folder.path().join("out.jsonl").display().to_string();
        let run = run(&[&[command, "--input", input, "--output", &output], more].concat());
        let text = std::fs::read_to_string(&output).unwrap();
        (run.code, text.lines().map(|line| serde_json::from_str(line).expect(line)).collect())
    };
    let csv = write(folder.path(), "in.csv", "id,text,label\n7,a joy,gold\n8,,gold\n");
    let (code, lines) = results("classify", &csv, &[]);
    assert_eq!((code, lines.len()), (1, 2));
    assert_eq!((&lines[0]["id"], &lines[0]["text"]), (&json!("7"), &json!("a joy")));
    assert_eq!((&lines[0]["label"], &lines[0]["input_label"]), (&json!("positive"), &json!("gold")));
    assert_eq!((&lines[1]["id"], &lines[1]["code"]), (&json!("8"), &json!("empty_text")));

    let jsonl = write(folder.path(), "in.jsonl", r#"{"id": [7], "text": "anna", "more": {"a": 1.5}}"#);
    let (_, lines) = results("classify", &jsonl, &[]);
    assert_eq!((&lines[0]["id"], &lines[0]["more"]), (&json!([7]), &json!({"a": 1.5})));
    assert!(lines[0]["score"].as_f64().is_some() && lines[0]["text"] == "anna");
    let (_, lines) = results("tag", &jsonl, &["--model", &tiny("mobilebert-ner-f32")]);
    assert_eq!((&lines[0]["id"], lines[0]["entities"].is_array()), (&json!([7]), true));
    let (_, lines) = results("embed", &jsonl, &["--model", &tiny("mobilebert-f32")]);
    assert_eq!((&lines[0]["id"], lines[0]["embedding"].as_array().unwrap().len()), (&json!([7]), 16));
}

/// A field of the input never passes for a result, whatever the line's own result has.
#[test]
fn fields_with_the_names_of_results_are_renamed_on_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let gold = r#""label":"gold","score":1,"truncated":true,"start":7"#;
    let content = format!("{{\"text\":\"\",{gold}}}\n{{\"text\":\"good\",{gold},\"code\":5}}\n");
    let input = write(folder.path(), "in.jsonl", content);
    let output = folder.path().join("out.jsonl").display().to_string();
    assert_eq!(run(&["classify", "--input", &input, "--output", &output]).code, 1);
    let found = std::fs::read_to_string(&output).unwrap();
    let lines: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        assert_eq!((&line["input_label"], &line["input_score"]), (&json!("gold"), &json!(1)), "{line}");
        assert_eq!((&line["input_truncated"], &line["start"]), (&json!(true), &json!(7)), "{line}");
    }
    assert_eq!((&lines[0]["label"], &lines[0]["score"]), (&Value::Null, &Value::Null), "it failed");
    assert_eq!((&lines[0]["code"], &lines[1]["input_code"]), (&json!("empty_text"), &json!(5)));
    assert_eq!((&lines[1]["label"], &lines[1]["truncated"]), (&json!("positive"), &Value::Null));
}

#[test]
fn plain_output_has_one_line_for_each_text() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(folder.path(), "in.jsonl", "{\"text\": \"a joy\\nto\\twatch \\u001b[31m\"}\n");
    let plain = run(&["classify", "--input", &input]);
    assert!(plain.stdout.ends_with("\ta joy\\nto\\twatch \\u{1b}[31m\n"), "{}", plain.stdout);
    assert_eq!(plain.stdout.lines().count(), 1);
    let mut answer = command(&["answer", "--question", "Who?", "--context", "It was\nAda\nLovelace."]);
    let answer = finished(answer.output().unwrap());
    assert_eq!(answer.stdout.lines().count(), 1, "{}", answer.stdout);
}

#[test]
fn values_that_are_only_copied_stay_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let object = r#"{"text":"a joy","big":123456789012345678901234567890,"price":1.10,"more":{"x": [1E2, "\u0041"]},"label":1.0}"#;
    let input = write(folder.path(), "in.jsonl", object);
    let output = folder.path().join("out.jsonl").display().to_string();
    assert_eq!(run(&["classify", "--input", &input, "--output", &output]).code, 0);
    let found = std::fs::read_to_string(&output).unwrap();
    let expected =
        object.replace("\"label\"", "\"input_label\"").replace("1.0}", "1.0,\"label\":\"positive\",");
    assert!(found.starts_with(&expected), "{found}");
}

#[test]
fn problems_of_a_line_of_json_have_a_column_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(
        folder.path(),
        "in.jsonl",
        "{\"text\":\"a joy\"}\n{\"text\":\"a\",\"text\":\"b\"}\n{\"text\":\n",
    );
    let lines = classify(&input, &[]).lines();
    for (line, end) in [(1, "the field `text` is there twice at column 23"), (2, " at column 8")] {
        let problem = lines[line]["error"].as_str().unwrap();
        assert!(problem.ends_with(end) && problem.matches("line ").count() == 1, "{problem}");
    }
    let ids = piped(&["infer", "--model", &tiny("mobilebert-f32"), "-", "--json"], "{\"ids\":[2}\n");
    let problem = ids.lines()[0]["error"].as_str().unwrap().to_owned();
    assert!(problem.contains("stdin, line 1: ") && problem.ends_with(" at column 10"), "{problem}");
}

#[test]
fn a_header_behind_blank_lines_has_its_own_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |content: &str| write(folder.path(), "in.csv", content);
    classify(&file("\n\r\n\nid,words\n1,a joy\n"), &[]).failed(1, "in.csv, line 4: no column `text`");
    classify(&file("\n\n1;dull\n"), &["--no-header"]).failed(1, "in.csv, line 3: it is one column");
}

#[test]
fn columns_of_an_output_have_names_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in
        [("in.csv", "text,error,label\na joy,x,y\n"), ("in.tsv", "text\terror\tlabel\na joy\tx\ty\n")]
    {
        let input = write(folder.path(), name, content);
        let output = folder.path().join(format!("out.{name}")).display().to_string();
        assert_eq!(run(&["classify", "--input", &input, "--output", &output]).code, 0);
        let header = std::fs::read_to_string(&output).unwrap().replace('\t', ",");
        assert!(header.starts_with("text,input_error,input_label,label,score,truncated,error\n"), "{header}");
        assert_eq!(labels(&classify(&output, &["--text-column", "text"])), ["positive"]);
        assert_eq!(classify(&output, &["--text-column", "label"]).code, 0);
    }
    let twice = write(folder.path(), "twice.csv", "text,id,id\na joy,1,2\n");
    let output = folder.path().join("out.jsonl").display().to_string();
    assert_eq!(run(&["classify", "--input", &twice, "--output", &output]).code, 0);
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!((&line["id"], &line["input_id"]), (&json!("1"), &json!("2")));
}
