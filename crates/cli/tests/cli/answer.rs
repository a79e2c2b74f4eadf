//! `mobilebert answer`.

use serde_json::json;

use crate::support::{QUESTION, keys, piped, run, tiny, write};

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
fn the_other_places_of_an_answer_are_shown() {
    let context = "It was built by Ada in London. Long ago, it was built by Ada.";
    let args = [&QUESTION[..], &["--context", context]].concat();
    let answer = run(&[&args[..], &["--json"]].concat()).line();
    assert_eq!(keys(&answer), ["question_index", "score", "start", "end", "answer", "others"]);
    let others = answer["others"].as_array().unwrap();
    assert!(!others.is_empty());
    for place in others {
        assert_eq!(keys(place), ["score", "start", "end"]);
        let at = |end: &str| usize::try_from(place[end].as_u64().unwrap()).unwrap();
        assert_eq!(&context[at("start")..at("end")], answer["answer"]);
    }
    let plain = run(&args);
    assert_eq!(others.len(), 1);
    assert!(plain.stdout.ends_with("\t(and 1 more place)\n"), "{}", plain.stdout);

    let wide = format!("é{context}");
    let args = [&QUESTION[..], &["--context", &wide, "--json"]].concat();
    let (bytes, chars) = (run(&args).line(), run(&[&args[..], &["--offsets", "chars"]].concat()).line());
    let start = |answer: &serde_json::Value| answer["others"][0]["start"].as_u64().unwrap();
    assert_eq!(start(&bytes), start(&chars) + 1, "offsets of other places are converted too");
}

#[test]
fn equal_texts_can_be_answers_of_their_own() {
    let context = "It was built by Ada in London. Long ago, it was built by Ada.";
    let args = [&QUESTION[..], &["--context", context, "--top-k", "5", "--json"]].concat();
    let merged = run(&args).lines();
    let apart = run(&[&args[..], &["--no-merge-equal-texts"]].concat()).lines();
    let count = |lines: &[serde_json::Value]| lines.iter().filter(|line| line["answer"] == "Ada").count();
    assert_eq!((count(&merged), count(&apart)), (1, 2));
    let score = |line: &serde_json::Value| line["score"].as_f64().unwrap();
    assert!(score(&apart[0]) < score(&merged[0]));
    assert!(apart.iter().all(|line| line.get("others").is_none()));
}

#[test]
fn no_answer_can_take_its_share_of_the_score() {
    let args = ["answer", "--question", "Who built it?", "--context", "Rain", "--json"];
    let alone = run(&args).line();
    let shared = run(&[&args[..], &["--null-competes"]].concat()).line();
    assert_eq!((&alone["answer"], &shared["answer"]), (&json!("Rain"), &json!("Rain")));
    assert!(alone["score"].as_f64().unwrap() > 0.999);
    assert!(shared["score"].as_f64().unwrap() < 0.9);
}

/// The score of "no answer" means something only for a model that was made for it.
#[test]
fn a_model_whose_no_answer_is_not_calibrated_is_named() {
    let args = [&QUESTION[..], &["--context", "It was built by Ada.", "--handle-impossible-answer"]].concat();
    let warned = run(&args);
    assert!(warned.code == 0 && warned.stdout.starts_with("Ada\t"), "{}", warned.stdout);
    let expected = "mobilebert: warning: the \"no answer\" of `built-in:qa` is not calibrated: its config.json does not say";
    assert!(warned.stderr.starts_with(expected), "{}", warned.stderr);
    // It was trained on some paragraphs without the answer, so nothing may say that it was not.
    assert!(!warned.stderr.contains("it was trained"), "{}", warned.stderr);
    assert_eq!(run(&[&args[..], &["--quiet"]].concat()).stderr, "");
    assert_eq!(run(&args[..args.len() - 1]).stderr, "", "without the flag there is no such answer");

    let folder = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "vocab.txt", "tokenizer_config.json"] {
        let source = format!("{}/../../models/qa/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(source, folder.path().join(file)).unwrap();
    }
    let model = folder.path().display().to_string();
    let config = format!("{}/../../models/qa/config.json", env!("CARGO_MANIFEST_DIR"));
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    for (value, expected) in
        [("true", ""), ("false", "says that it does not tell"), ("3", "expected true or false")]
    {
        let mut config = config.clone();
        config["handles_unanswerable"] = serde_json::from_str(value).unwrap();
        write(folder.path(), "config.json", config.to_string());
        let told = run(&[&args[..], &["--model", &model]].concat());
        assert!(
            told.stderr.contains(expected) && told.stderr.is_empty() == expected.is_empty(),
            "{}",
            told.stderr
        );
        let inspected = run(&["inspect", "--model", &model, "--json"]);
        if let Some(line) = inspected.lines().first() {
            assert_eq!(line["config"]["handles_unanswerable"].to_string(), value);
        }
    }
}

#[test]
fn a_context_file_has_to_be_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let context = write(folder.path(), "context.txt", b"first\nsec\xe2\x28ond");
    run(&[&QUESTION[..], &["--context-file", &context]].concat())
        .failed(1, "context.txt, line 2: byte 3: expected UTF-8; found 0xe2");
    run(&[&QUESTION[..], &["--context-file", "missing.txt"]].concat()).failed(1, "missing.txt: ");
}

/// The words of the question stand in the middle of a context of many windows.
#[test]
fn a_part_of_a_long_context_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let padding = "é anna works in paris and a good time of day ".repeat(60);
    let context = write(folder.path(), "long.txt", format!("{padding}the king wrote a book {padding}"));
    let model = tiny("mobilebert-f32");
    let args = ["answer", "--model", &model, "--context-file", &context, "--max-seq-len", "16"];
    let question = ["--doc-stride", "4", "--question", "who wrote the book ?"];
    let args = [&args[..], &question].concat();

    let whole = run(&[&args[..], &["--json"]].concat()).line();
    assert!(whole.get("windows").is_none() && whole.get("unread").is_none(), "{whole}");
    // Each kind of limit that does not matter gives the same answer, and says that all was read.
    for limit in [["--max-windows", "100000"], ["--deadline-ms", "3600000"]] {
        let all = run(&[&args[..], &limit, &["--json"]].concat()).line();
        assert_eq!((&all["answer"], &all["score"]), (&whole["answer"], &whole["score"]));
        assert!(all["windows"].as_u64().unwrap() > 100 && all["windows"] == all["windows_read"], "{all}");
        assert_eq!(all["unread"].as_array().unwrap().len(), 0);
    }

    let few = [&args[..], &["--max-windows", "2"]].concat();
    let line = run(&[&few[..], &["--json"]].concat()).line();
    assert_eq!(line["windows_read"], 2);
    let unread = |line: &serde_json::Value| -> Vec<u64> {
        let parts = line["unread"].as_array().unwrap().iter();
        parts.flat_map(|part| part.as_array().unwrap().iter().map(|end| end.as_u64().unwrap())).collect()
    };
    let bytes = unread(&line);
    assert_eq!((bytes[0], bytes[bytes.len() - 1]), (0, 2 * padding.len() as u64 + 22));
    assert!((bytes[1] as usize) <= padding.len() + 4, "{bytes:?}");
    let chars = run(&[&few[..], &["--json", "--offsets", "chars"]].concat()).line();
    assert_eq!(unread(&chars)[1], bytes[1] - bytes[1].div_ceil(padding.len() as u64 / 60));

    let windows = line["windows"].as_u64().unwrap();
    let human = run(&few);
    assert!(human.stdout.ends_with(&format!("\t(2 of {windows} windows read)\n")), "{}", human.stdout);
    let text = std::fs::read_to_string(&context).unwrap();
    let table = write(folder.path(), "in.tsv", format!("question\tcontext\nwho wrote the book ?\t{text}\n"));
    let output = folder.path().join("out.tsv").display().to_string();
    let args = ["answer", "--model", &model, "--input", &table, "--output", &output, "--max-windows", "2"];
    assert_eq!(run(&[&args[..], &question[..2], &["--max-seq-len", "16"]].concat()).code, 0);
    let rows = std::fs::read_to_string(&output).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split('\t').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|&column| column == name).unwrap();
    assert_eq!(rows[1][column("windows_read")], "2");
    assert_eq!(rows[1][column("windows")], windows.to_string());
}

#[test]
fn limits_of_reading_are_at_least_one() {
    for limit in ["--max-windows", "--deadline-ms"] {
        run(&["answer", "--question", "Who?", "--context", "Ada", limit, "0"]).failed(2, "1..");
    }
}

#[test]
fn the_shortest_windows_need_no_stride() {
    for tokens in ["5", "6", "7", "8", "9", "10"] {
        let args =
            ["answer", "--question", "who", "--context", "Ada built it in Rome", "--max-seq-len", tokens];
        assert_eq!(run(&args).code, 0, "{tokens}: {}", run(&args).stderr);
    }
}
