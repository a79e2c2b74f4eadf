//! The routes of text-embeddings-inference, in the shapes of its published description.

use serde_json::{Value, json};

use crate::support::{Server, root, tiny};

fn server(flags: &[&str]) -> Server {
    Server::start(&[vec![format!("embed={}", root("models/embed"))], tiny()].concat(), flags)
}

#[test]
fn vectors_are_nested_and_have_the_bits_of_the_library() {
    let server = server(&[]);
    let embedder = mobilebert::Embedder::open(root("models/embed")).unwrap();
    let vector = embedder.embed("How old are you?").unwrap();
    let expected = format!("[{}]", serde_json::to_string(&vector.embedding).unwrap());
    let alone = server.post("/embed", r#"{"inputs":"How old are you?"}"#);
    assert_eq!((alone.status, alone.text()), (200, expected.as_str()));
    assert_eq!(server.post("/embed", r#"{"inputs":["How old are you?"]}"#).text(), expected);
    assert_eq!(
        server.post("/tei/embed/embed", r#"{"inputs":["How old are you?"],"truncate":true}"#).text(),
        expected
    );
    for name in ["x-compute-type", "x-total-time", "x-queue-time", "x-inference-time", "x-compute-tokens"] {
        assert!(alone.header(name).is_some(), "{name}");
    }
    let options = mobilebert::EmbedOptions::with(|o| o.normalize = Some(false));
    let long = embedder.embed_with("How old are you?", &options).unwrap();
    let raw = server.post("/embed", r#"{"inputs":"How old are you?","normalize":false}"#);
    assert_eq!(raw.text(), format!("[{}]", serde_json::to_string(&long.embedding).unwrap()));
    // The mean of the vectors of all tokens is that of the text.
    let all = server.post("/embed_all", r#"{"inputs":"How old are you?"}"#).ok();
    let tokens = all[0].as_array().unwrap();
    assert_eq!((tokens.len(), tokens[0].as_array().unwrap().len()), (7, 384));
    let mean: f64 = tokens.iter().map(|token| token[0].as_f64().unwrap()).sum::<f64>() / 7.0;
    assert!((mean - f64::from(long.embedding[0])).abs() < 1e-5);
    let sentences = json!({"inputs": {
        "source_sentence": "How old are you?",
        "sentences": ["What is your age?", "The train leaves."],
    }});
    let cosines = server.post("/similarity", &sentences.to_string());
    let age = embedder.embed("What is your age?").unwrap();
    assert_eq!(cosines.ok()[0].as_f64().unwrap() as f32, vector.cosine(&age));
}

#[test]
fn predictions_are_flat_for_one_input_and_nested_for_a_list() {
    let server = server(&[]);
    let classifier = mobilebert::TextClassification::open(root("tests/golden/checkpoints/bert-f32")).unwrap();
    let all = mobilebert::ClassifyOptions::with(|o| o.top_k = usize::MAX);
    let one = classifier.classify_with("a good film", &all).unwrap();
    let pair = classifier.classify_pair_with("a good film", "the city", &all).unwrap();
    let post = |inputs: Value| server.post("/predict", &json!({"inputs": inputs}).to_string()).ok();
    let flat = post(json!("a good film"));
    for (found, expected) in flat.as_array().unwrap().iter().zip(&one.labels) {
        assert_eq!(found["score"].as_f64().unwrap() as f32, expected.score);
        assert_eq!(found["label"], expected.label.as_str());
    }
    assert_eq!(post(json!("a good film")), post(json!([["a good film"]]))[0]);
    // A flat list of two texts is one pair.
    let flat = post(json!(["a good film", "the city"]));
    assert_eq!(flat[0]["score"].as_f64().unwrap() as f32, pair.labels[0].score);
    assert_eq!(flat, post(json!([["a good film", "the city"]]))[0]);
    assert_eq!(post(json!([["a"], ["a", "the"]])).as_array().unwrap().len(), 2);
    let raw = server.post("/predict", r#"{"inputs":"a good film","raw_scores":true}"#).ok();
    let sum: f64 = raw.as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() > 1e-3, "{raw}");
}

#[test]
fn tokens_and_texts_go_both_ways() {
    let server = server(&[]);
    let found = server.post("/tokenize", r#"{"inputs":"naïve café, ok?"}"#).ok();
    assert_eq!(
        found[0][0],
        json!({"id": 101, "text": "[CLS]", "special": true, "start": null, "stop": null})
    );
    // Offsets are code points.
    assert_eq!(found[0][2], json!({"id": 7668, "text": "cafe", "special": false, "start": 6, "stop": 10}));
    let plain = server.post("/tokenize", r#"{"inputs":["a"],"add_special_tokens":false}"#).ok();
    assert_eq!(plain[0].as_array().unwrap().len(), 1);
    let ids: Vec<u64> =
        found[0].as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap()).collect();
    let decode = |body: Value| server.post("/decode", &body.to_string()).ok();
    assert_eq!(decode(json!({"ids": ids})), json!(["naive cafe, ok?"]));
    assert_eq!(
        decode(json!({"ids": [ids], "skip_special_tokens": false})),
        json!(["[CLS] naive cafe, ok? [SEP]"])
    );
    let refused = server.post("/decode", r#"{"ids":[99999999]}"#);
    assert_eq!((refused.status, &refused.json()["error_type"]), (422, &json!("Validation")));
}

#[test]
fn health_and_information() {
    let server = server(&[]);
    for path in ["/health", "/ping"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.body.len()), (200, 0));
    }
    let info = server.get("/info").ok();
    assert_eq!((&info["model_id"], &info["max_input_length"]), (&json!("embed"), &json!(256)));
    assert_eq!(info["model_type"], json!({"embedding": {"pooling": "mean"}}));
    let info = server.get("/tei/tiny-classify/info").ok();
    assert!(info["model_type"]["classifier"]["id2label"]["0"].is_string(), "{info}");
    let loading = Server::start_unloaded(&tiny(), &[]);
    let answer = loading.get("/health");
    assert_eq!((answer.status, &answer.json()["error_type"]), (503, &json!("Unhealthy")));
}

#[test]
fn errors_have_their_types() {
    let server = server(&["--max-inputs", "2"]);
    let long = json!({"inputs": "a ".repeat(600), "truncate": false}).to_string();
    for (path, body, status, kind) in [
        ("/embed", r#"{"inputs":""}"#, 400, "Empty"),
        ("/embed", r#"{"inputs":7}"#, 422, "Validation"),
        ("/embed", r#"{"inputs":["a","a","a"]}"#, 413, "Validation"),
        ("/embed", r#"{"inputs":"a","truncation_direction":"Left"}"#, 422, "Validation"),
        ("/embed", r#"{"inputs":"a","prompt_name":"query"}"#, 422, "Validation"),
        ("/embed", &long, 422, "Validation"),
        ("/embed_sparse", r#"{"inputs":"a"}"#, 424, "Backend"),
        ("/tei/tiny-qa/embed", r#"{"inputs":"a"}"#, 424, "Backend"),
        ("/tei/embed/predict", r#"{"inputs":"a"}"#, 424, "Backend"),
        ("/rerank", r#"{"query":"a","texts":["b"]}"#, 424, "Backend"),
        ("/predict", r#"{"inputs":["a","b","c"]}"#, 422, "Validation"),
        ("/predict", r#"{"inputs":["a",["b"]]}"#, 422, "Validation"),
    ] {
        let answer = server.post(path, body);
        assert_eq!(
            (answer.status, &answer.json()["error_type"]),
            (status, &json!(kind)),
            "{path} {body}: {}",
            answer.text()
        );
        assert!(!answer.json()["error"].as_str().unwrap().is_empty());
    }
}
