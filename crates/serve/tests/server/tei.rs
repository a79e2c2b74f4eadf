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

/// Copies the model for embeddings with other settings, if it is there.
fn copied(folder: &std::path::Path, change: impl Fn(&std::path::Path)) -> String {
    for entry in std::fs::read_dir(root("models/embed")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    for entry in std::fs::read_dir(root("models/embed")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let to = folder.join(path.file_name().unwrap());
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(&path).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    change(folder);
    format!("other={}", folder.display())
}

/// What a request says about the length of vectors holds, whatever the folder says.
#[test]
fn vectors_have_length_one_if_the_request_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let source = copied(folder.path(), |folder| {
        let path = folder.join("modules.json");
        let modules: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let is_normalize = |module: &Value| module["type"].as_str().unwrap().ends_with("Normalize");
        let kept: Vec<Value> = modules.into_iter().filter(|module| !is_normalize(module)).collect();
        std::fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
    });
    let server = Server::start(&[source], &[]);
    let length = |vector: &Value| -> f64 {
        vector.as_array().unwrap().iter().map(|x| x.as_f64().unwrap().powi(2)).sum::<f64>().sqrt()
    };
    let of = |body: &str| length(&server.post("/embed", body).ok()[0]);
    assert!((of(r#"{"inputs":"a"}"#) - 1.0).abs() < 1e-3);
    assert!((of(r#"{"inputs":"a","normalize":true}"#) - 1.0).abs() < 1e-3);
    assert!((of(r#"{"inputs":"a","normalize":false}"#) - 1.0).abs() > 1e-2);
    let found = server.post("/v1/embeddings", r#"{"model":"other","input":"a"}"#).ok();
    assert!((length(&found["data"][0]["embedding"]) - 1.0).abs() < 1e-3);
}

/// The sequences of `/embed_all` are those of `/embed`, with the folder's prompt.
#[test]
fn the_prompt_of_the_folder_is_read_for_all_tokens_too() {
    let folder = tempfile::tempdir().unwrap();
    let source = copied(folder.path(), |folder| {
        let path = folder.join("config_sentence_transformers.json");
        let settings = json!({"prompts": {"query": "query: "}, "default_prompt_name": "query"});
        std::fs::write(&path, settings.to_string()).unwrap();
    });
    let server = Server::start(&[source], &[]);
    let vector = server.post("/embed", r#"{"inputs":"a","normalize":false}"#).ok();
    let all = server.post("/embed_all", r#"{"inputs":"a"}"#).ok();
    let tokens = all[0].as_array().unwrap();
    assert_eq!(tokens.len(), 5, "[CLS] query : a [SEP]");
    let mean: f64 = tokens.iter().map(|token| token[0].as_f64().unwrap()).sum::<f64>() / 5.0;
    assert!((mean - vector[0][0].as_f64().unwrap()).abs() < 1e-5);
}

#[test]
fn a_flat_list_of_one_text_is_that_text() {
    let server = server(&[]);
    let post = |inputs: Value| server.post("/predict", &json!({"inputs": inputs}).to_string()).ok();
    assert_eq!(post(json!(["a good film"])), post(json!("a good film")));
}

/// The elements of a list are not taken for the fields of an object.
#[test]
fn a_list_is_no_object() {
    let server = server(&[]);
    for body in [
        r#"{"inputs":["How old are you?",["What is your age?"]]}"#,
        r#"{"inputs":{"source_sentence":"a","sentences":["b"]},"parameters":[true]}"#,
    ] {
        let refused = server.post("/similarity", body);
        assert!(refused.text().contains("expected an object"), "{}", refused.text());
        assert_eq!(refused.status, 422, "{}", refused.text());
    }
}

/// The vectors of all tokens are bounded before any of them is computed.
#[test]
fn vectors_of_too_many_tokens_are_refused_at_once() {
    let server = server(&["--max-input-bytes", "2000"]);
    let long = "a ".repeat(300);
    let texts = |count: usize| json!({ "inputs": vec![long.as_str(); count] }).to_string();
    let refused = server.post("/embed_all", &texts(200));
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.text().contains("16777216 numbers"), "{}", refused.text());
    assert!(server.get("/metrics").text().contains("\nmb_tokens_total 0\n"));
    let found = server.post("/embed_all", &texts(2)).ok();
    assert_eq!(found[0].as_array().unwrap().len(), found[1].as_array().unwrap().len());
}
