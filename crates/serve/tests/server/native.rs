//! `/api/v1`: the objects of the command, offsets in three units, what was cut, and errors.

use serde_json::json;

use crate::support::{Server, root, tiny};

#[test]
fn results_are_the_objects_of_the_command() {
    let models =
        [tiny(), vec![format!("embed={}", root("models/embed")), format!("qa={}", root("models/qa"))]]
            .concat();
    let server = Server::start(&models, &[]);

    let qa = mobilebert::QuestionAnswering::open(root("models/qa")).unwrap();
    let (question, context) = ("Who built it?", "It was built by Ada in New York.");
    let body = json!({"question": question, "context": context, "top_k": 2}).to_string();
    let options = mobilebert::AnswerOptions::with(|o| o.top_k = 2);
    let answers = qa.answers_with(question, context, &options).unwrap();
    let answer = server.post("/api/v1/qa/answer", &body);
    let found = answer.ok();
    assert_eq!(found["answers"][0][0]["answer"], "Ada");
    assert!(answer.text().contains(&serde_json::to_string(&answers).unwrap()), "{}", answer.text());
    assert_eq!(found["windows"], 1);
    assert_eq!(found["model_sha"].as_str().unwrap().len(), 64);
    assert_eq!(answer.header("x-model-sha"), found["model_sha"].as_str());
    assert_eq!(answer.header("x-model"), Some("qa"));
    assert!(answer.header("x-tokens").is_some() && answer.header("x-compute-ms").is_some());

    let classifier = mobilebert::TextClassification::open(root("tests/golden/checkpoints/bert-f32")).unwrap();
    let best = classifier.classify("a good film").unwrap();
    let answer =
        server.post("/api/v1/tiny-classify/classify", r#"{"inputs":["a good film",["the city","is bad"]]}"#);
    let found = answer.ok();
    assert_eq!(found["results"][0]["label"], best.labels[0].label.as_str());
    assert!(answer.text().contains(&serde_json::to_string(&best.labels[0].score).unwrap()));
    let pair = classifier.classify_pair("the city", "is bad").unwrap();
    assert!(answer.text().contains(&serde_json::to_string(&pair.labels[0].score).unwrap()));
    assert_eq!(found["results"][1]["truncated"], false);
    assert!(found["results"][0].get("labels").is_none());

    let tagger =
        mobilebert::TokenClassification::open(root("tests/golden/checkpoints/mobilebert-ner-f32")).unwrap();
    let entities = tagger.tag("Anna works in Paris").unwrap();
    let answer = server.post("/api/v1/tiny-ner/tag", r#"{"inputs":"Anna works in Paris"}"#);
    answer.ok();
    let expected = format!("{{\"results\":[{}],", serde_json::to_string(&entities).unwrap());
    assert!(answer.text().starts_with(&expected), "{} {expected}", answer.text());

    let filler = mobilebert::FillMask::open(root("tests/golden/checkpoints/mobilebert-mlm-f32")).unwrap();
    let fills = filler.fill("paris is the [MASK] of france.").unwrap();
    let answer = server.post("/api/v1/tiny-mlm/fill-mask", r#"{"inputs":"paris is the [MASK] of france."}"#);
    answer.ok();
    let expected = format!("{{\"results\":[{}],", serde_json::to_string(&fills[0]).unwrap());
    assert!(answer.text().starts_with(&expected), "{} {expected}", answer.text());

    let embedder = mobilebert::Embedder::open(root("models/embed")).unwrap();
    let vector = embedder.embed("How old are you?").unwrap();
    let answer = server.post("/api/v1/embed/embed", r#"{"inputs":["How old are you?"]}"#);
    answer.ok();
    let expected = format!("{{\"results\":[{}],", serde_json::to_string(&vector).unwrap());
    assert!(answer.text().starts_with(&expected));
    // The vectors of a model with a head are those of its encoder.
    let embedder = mobilebert::Embedder::open(root("models/qa")).unwrap();
    let vector = embedder.embed("How old are you?").unwrap();
    let answer = server.post("/api/v1/qa/embed", r#"{"inputs":["How old are you?"]}"#);
    assert!(answer.text().contains(&serde_json::to_string(&vector.embedding).unwrap()));

    let answer = server.post("/api/v1/qa/tokenize", r#"{"inputs":"naïve café"}"#).ok();
    assert_eq!(answer["results"][0]["ids"], json!([101, 15743, 7668, 102]));
    assert_eq!(answer["results"][0]["tokens"], json!(["[CLS]", "naive", "cafe", "[SEP]"]));
    assert_eq!(answer["results"][0]["offsets"], json!([[0, 0], [0, 6], [7, 12], [0, 0]]));
}

/// A part of a long context is what the library reads of it, bit for bit, and the rest is named.
#[test]
fn a_part_of_a_long_context_is_read() {
    let qa = mobilebert::QuestionAnswering::open(root("models/qa")).unwrap();
    // Its windows are more than the server takes of a request that asks for all.
    let server = Server::start(&[format!("qa={}", root("models/qa"))], &["--max-windows", "4"]);
    let (question, padding) = ("Who built the bridge?", "Trées grow slowly in the north. ".repeat(300));
    let context = format!("{padding} The bridge was built by Ada. {padding}");
    let post = |more: serde_json::Value| {
        let mut body = json!({"question": [question], "context": context});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.post("/api/v1/qa/answer", &body.to_string())
    };
    assert_eq!(post(json!({})).code(), (413, "too_large".to_owned()));
    let prepared = qa.prepare(&*context).unwrap();
    let expected = qa
        .answers_within(question, &prepared, qa.options(), Some(2), &mut mobilebert::RunControl::default())
        .unwrap();
    let found = post(json!({"max_windows": 2})).ok();
    let answers = serde_json::to_string(&expected.answers).unwrap();
    assert_eq!(found["answers"][0], serde_json::from_str::<serde_json::Value>(&answers).unwrap());
    assert_eq!(found["answers"][0][0]["answer"], "Ada");
    let part = &found["parts"][0];
    assert_eq!((&part["windows"], &part["windows_read"]), (&found["windows"], &json!(2)));
    assert!(found["windows"].as_u64() > Some(4) && found["windows"] == json!(expected.windows));
    let unread: Vec<[usize; 2]> = expected.unread.iter().map(|part| [part.start, part.end]).collect();
    assert!(!unread.is_empty() && part["unread"] == json!(unread));
    let chars = post(json!({"max_windows": 2, "offsets": "chars"})).ok();
    let count = |end: &usize| context[..*end].chars().count();
    let unread: Vec<Vec<usize>> = unread.iter().map(|part| part.iter().map(count).collect()).collect();
    assert_eq!(chars["parts"][0]["unread"], json!(unread));
    // Neither more than the server runs for a request, nor any number to choose from.
    assert_eq!(post(json!({"max_windows": 5})).code(), (413, "too_large".to_owned()));
    let many = post(json!({"max_windows": 2, "max_seq_len": 40, "doc_stride": 20}));
    assert_eq!(many.code(), (413, "too_large".to_owned()));
    assert!(many.text().contains("more than 64 windows"), "{}", many.text());
    let none = post(json!({"max_windows": 0}));
    assert_eq!(none.code(), (400, "invalid".to_owned()));
    assert_eq!(none.json()["error"]["param"], "max_windows");
}

#[test]
fn offsets_are_in_the_unit_that_was_asked_for() {
    let server = Server::start(&[format!("qa={}", root("models/qa"))], &[]);
    let context = "naïve 😀 café. It was built by Ada.";
    for (unit, text) in [
        ("bytes", context.len()),
        ("chars", context.chars().count()),
        ("utf16", context.encode_utf16().count()),
    ] {
        let body = json!({"question": "Who built it?", "context": context, "offsets": unit}).to_string();
        let found = server.post("/api/v1/qa/answer", &body).ok();
        let answer = &found["answers"][0][0];
        assert_eq!(answer["answer"], "Ada");
        // The answer ends one full stop before the end, in any unit.
        assert_eq!(
            (answer["start"].as_u64(), answer["end"].as_u64()),
            (Some(text as u64 - 4), Some(text as u64 - 1))
        );
    }
    let body = r#"{"question":"Who?","context":"Ada.","offsets":"words"}"#;
    let refused = server.post("/api/v1/qa/answer", body);
    assert_eq!(refused.code(), (400, "malformed".to_owned()));
    assert!(refused.text().contains("expected bytes, chars or utf16"), "{}", refused.text());
}

#[test]
fn many_questions_share_a_context_and_what_is_cut_is_said() {
    let server = Server::start(&tiny(), &[]);
    let body =
        json!({"question": ["who?", "where?"], "context": "anna works in paris ".repeat(10)}).to_string();
    let found = server.post("/api/v1/tiny-qa/answer", &body).ok();
    assert_eq!(found["answers"].as_array().unwrap().len(), 2);
    assert!(found["windows"].as_u64().unwrap() > 2);

    let long = "a good film ".repeat(20);
    let body = json!({"inputs": [long, "a good film"]}).to_string();
    for (path, flag) in [("/api/v1/tiny-classify/classify", true), ("/api/v1/tiny-classify/embed", true)] {
        let found = server.post(path, &body).ok();
        assert_eq!(found["results"][0]["truncated"], flag, "{path}");
        assert_eq!(found["results"][1]["truncated"], false, "{path}");
    }
    let metrics = server.get("/metrics");
    assert!(metrics.text().contains("mb_truncated_total 2\n"), "{}", metrics.text());
    let strict = Server::start(&tiny(), &["--strict"]);
    let refused = strict.post("/api/v1/tiny-classify/classify", &body);
    assert_eq!(refused.code(), (400, "too_long".to_owned()));
    assert!(refused.text().contains("text 1: "), "{}", refused.text());
    assert_eq!(strict.post("/api/v1/tiny-classify/embed", &body).code(), (400, "too_long".to_owned()));
    let windows = json!({"inputs": long, "long_text": "windows-mean"}).to_string();
    assert_eq!(
        strict.post("/api/v1/tiny-classify/classify", &windows).ok()["results"][0]["truncated"],
        false
    );
}

#[test]
fn the_models_are_listed() {
    let server = Server::start(&tiny(), &[]);
    let found = server.get("/api/v1/models").ok();
    let tasks: Vec<&str> =
        found["models"].as_array().unwrap().iter().map(|model| model["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["answer", "classify", "tag", "fill-mask"]);
    assert_eq!(found["models"][0]["max_tokens"], 24);
}

#[test]
fn errors_say_what_and_where() {
    let server =
        Server::start(&tiny(), &["--max-inputs", "3", "--max-input-bytes", "2000", "--max-windows", "4"]);
    let long = json!({"inputs": "a ".repeat(1001)}).to_string();
    let windows = json!({"question": "who?", "context": "anna works in paris ".repeat(40)}).to_string();
    for (path, body, status, code, message) in [
        ("tiny-qa/answer", "{", 400, "malformed", "EOF"),
        ("tiny-qa/answer", "", 400, "malformed", "empty"),
        ("tiny-qa/answer", "[1]", 400, "malformed", ""),
        ("tiny-qa/answer", r#"{"question":"a"}"#, 400, "malformed", "missing field `context`"),
        ("tiny-qa/answer", r#"{"question":"a","context":7}"#, 400, "malformed", "a text or a list of texts"),
        (
            "tiny-qa/answer",
            r#"{"question":"a","context":"b","topk":1}"#,
            400,
            "malformed",
            "unknown field `topk`",
        ),
        (
            "tiny-qa/answer",
            r#"{"question":"a","question":"a","context":"b"}"#,
            400,
            "malformed",
            "duplicate field",
        ),
        ("tiny-qa/answer", r#"{"question":"\ud800","context":"b"}"#, 400, "malformed", "hex escape"),
        ("tiny-qa/answer", r#"{"question":" ","context":"b"}"#, 400, "empty_text", "the question is empty"),
        ("tiny-qa/answer", r#"{"question":["a"," "],"context":"b"}"#, 400, "empty_text", "question 2: "),
        (
            "tiny-qa/answer",
            r#"{"question":["a","a"],"context":["b","b","b"]}"#,
            400,
            "invalid",
            "3 contexts for 2",
        ),
        ("tiny-qa/answer", r#"{"question":"a","context":"b","top_k":0}"#, 400, "option", "`top_k` is 0"),
        ("tiny-qa/answer", r#"{"question":"a","context":"b","top_k":-1}"#, 400, "malformed", "usize"),
        ("tiny-qa/classify", r#"{"inputs":"a"}"#, 404, "wrong_task", "question answering"),
        ("nobody/classify", r#"{"inputs":"a"}"#, 404, "unknown_model", "tiny-classify"),
        ("tiny-classify/classify", r#"{"inputs":[]}"#, 400, "invalid", "empty list"),
        ("tiny-classify/classify", r#"{"inputs":["a","a","a","a"]}"#, 413, "too_large", "--max-inputs"),
        ("tiny-classify/classify", &long, 413, "too_large", "--max-input-bytes"),
        ("tiny-qa/answer", &windows, 413, "too_large", "--max-windows"),
        ("tiny-classify/classify", r#"{"inputs":"a","labels":["x"]}"#, 400, "option", "`labels`"),
        ("tiny-mlm/fill-mask", r#"{"inputs":"no mask"}"#, 400, "input", "[MASK]"),
    ] {
        let answer = server.post(&format!("/api/v1/{path}"), body);
        assert_eq!(answer.code(), (status, code.to_owned()), "{path} {body}: {}", answer.text());
        let found = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(found.contains(message), "{body}: {found}");
    }
    let body = b"{\"inputs\":\"\xff\"}";
    let answer = server.client().send("POST", "/api/v1/tiny-classify/classify", &[], body).unwrap();
    assert!(answer.status == 400 && answer.text().contains("byte 11"), "{}", answer.text());
}
