//! `/v1`: vectors as numbers and in base64, and errors in the form that the client libraries read.

use serde_json::json;

use crate::support::{Server, root, tiny};

fn server(flags: &[&str]) -> Server {
    Server::start(&[vec![format!("embed={}", root("models/embed"))], tiny()].concat(), flags)
}

/// Reads base64, for the tests.
fn from_base64(text: &str) -> Vec<f32> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other}"),
    };
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = chunk.iter().fold(0u32, |bits, &byte| bits << 6 | u32::from(digit(byte)));
        let bits = bits << (6 * (4 - chunk.len()));
        bytes.extend(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[test]
fn vectors_have_the_bits_of_the_library_in_both_forms() {
    let server = server(&[]);
    let texts = ["How old are you?", "What is your age?", "naïve 😀 café"];
    let expected = mobilebert::Embedder::open(root("models/embed")).unwrap().embed_batch(&texts).unwrap();
    let numbers = server.post("/v1/embeddings", &json!({"model": "embed", "input": texts}).to_string());
    let found = numbers.ok();
    assert_eq!((&found["object"], &found["model"]), (&json!("list"), &json!("embed")));
    let packed = json!({"model": "embed", "input": texts, "encoding_format": "base64"}).to_string();
    let packed = server.post("/v1/embeddings", &packed).ok();
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(
            (&found["data"][i]["index"], &found["data"][i]["object"]),
            (&json!(i), &json!("embedding"))
        );
        let text = serde_json::to_string(&expected.embedding).unwrap();
        assert!(numbers.text().contains(&text));
        assert_eq!(from_base64(packed["data"][i]["embedding"].as_str().unwrap()), expected.embedding);
    }
    let alone =
        server.post("/v1/embeddings", r#"{"model":"embed","input":"How old are you?","user":"x"}"#).ok();
    // [CLS] how old are you ? [SEP]
    assert_eq!(alone["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    assert_eq!(alone["data"][0]["embedding"], found["data"][0]["embedding"]);
}

#[test]
fn dimensions_are_refused_unless_allowed() {
    let body = r#"{"model":"embed","input":"a","dimensions":8}"#;
    let refused = server(&[]).post("/v1/embeddings", body);
    assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!("dimensions")));
    let allowed = server(&["--allow-cut-embeddings"]).post("/v1/embeddings", body).ok();
    let vector: Vec<f64> =
        allowed["data"][0]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    let length: f64 = vector.iter().map(|x| x * x).sum();
    assert!(vector.len() == 8 && (length - 1.0).abs() < 1e-6, "{length}");
}

#[test]
fn models_and_errors_have_the_shapes_that_clients_read() {
    let server = server(&["--max-inputs", "2"]);
    let models = server.get("/v1/models").ok();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("embed")));
    assert_eq!(server.get("/v1/models/embed").ok(), models["data"][0]);
    for (body, status, code, param) in [
        (r#"{"model":"nobody","input":"a"}"#, 404, "model_not_found", json!("model")),
        (r#"{"model":"tiny-qa","input":"a"}"#, 404, "model_not_found", json!("model")),
        (r#"{"model":"embed","input":[15339,1917]}"#, 400, "invalid", json!("input")),
        (r#"{"model":"embed","input":[[15339,1917]]}"#, 400, "invalid", json!("input")),
        (r#"{"model":"embed","input":""}"#, 400, "empty_text", json!("text")),
        (r#"{"model":"embed","input":[]}"#, 400, "invalid", json!("input")),
        (r#"{"model":"embed","input":{}}"#, 400, "malformed", json!("input")),
        (r#"{"model":"embed","input":["a","b","c"]}"#, 413, "too_large", json!("input")),
        (
            r#"{"model":"embed","input":"a","encoding_format":"hex"}"#,
            400,
            "invalid",
            json!("encoding_format"),
        ),
        (r#"{"input":"a"}"#, 400, "malformed", json!(null)),
    ] {
        let answer = server.post("/v1/embeddings", body);
        let error = &answer.json()["error"];
        assert_eq!(
            (answer.status, &error["code"], &error["param"]),
            (status, &json!(code), &param),
            "{error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let nowhere = server.post("/v1/chat/completions", "{}");
    assert_eq!((nowhere.status, &nowhere.json()["error"]["type"]), (404, &json!("invalid_request_error")));
}
