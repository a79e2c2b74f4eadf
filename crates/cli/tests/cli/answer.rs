//! `mobilebert answer`.

use serde_json::json;

use crate::support::{QUESTION, keys, piped, run, write};

#[test]
fn answer_gives_byte_offsets() {
    let answer = run(&[&QUESTION[..], &["--context", "It was built by Ada.", "--json"]].concat()).line();
    assert_eq!(keys(&answer), ["question_index", "score", "start", "end", "answer"]);
    assert_eq!(answer["question_index"], 0, "one question has the fields that several have");
    assert_eq!(
        (&answer["start"], &answer["end"], &answer["answer"]),
        (&json!(16), &json!(19), &json!("Ada"))
    );
    assert!(answer["score"].as_f64().unwrap() > 0.9);
}

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
    assert_eq!(lines[2]["code"], "empty_text");
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
    assert_eq!(lines[1]["code"], "input");
    assert_eq!((&lines[2]["question_index"], &lines[2]["answer"]), (&json!(2), &json!("Rome")));
}

#[test]
fn a_context_file_has_to_be_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", b"first\nsec\xe2\x28ond");
    run(&[&QUESTION[..], &["--context-file", &context]].concat())
        .failed(1, "context.txt, line 2: byte 3: expected UTF-8; found 0xe2");
    run(&[&QUESTION[..], &["--context-file", "missing.txt"]].concat()).failed(1, "missing.txt: ");
}
