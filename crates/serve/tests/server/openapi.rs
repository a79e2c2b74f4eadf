//! The document of the routes knows the fields that the routes read.

use serde_json::Value;

use crate::support::{Server, tiny};

/// Asks each native route with a field that it does not have. The error lists those that it has.
#[test]
fn the_document_has_the_fields_of_the_requests() {
    let server = Server::start(&tiny(), &[]);
    let document = server.get("/openapi.json").ok();
    for (path, schema) in [
        ("tiny-qa/answer", "AnswerRequest"),
        ("tiny-classify/classify", "ClassifyRequest"),
        ("tiny-ner/tag", "TagRequest"),
        ("tiny-mlm/fill-mask", "FillMaskRequest"),
        ("tiny-qa/embed", "EmbedRequest"),
        ("tiny-qa/tokenize", "TokenizeRequest"),
    ] {
        let refused = server.post(&format!("/api/v1/{path}"), r#"{"no such field":1}"#);
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        let mut known: Vec<&str> =
            message.split("expected ").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        known.sort_unstable();
        let schema = &document["components"]["schemas"][schema];
        let mut listed: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        listed.sort_unstable();
        assert_eq!(listed, known, "{path}");
        // Each required field is missed if it alone is left out.
        let required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(!required.is_empty(), "{path}");
        let body = |without: &str| {
            let kept = required.iter().filter(|name| **name != without);
            let body: serde_json::Map<String, Value> =
                kept.map(|name| ((*name).to_owned(), "anna was in [MASK]".into())).collect();
            server.post(&format!("/api/v1/{path}"), &Value::from(body).to_string()).text().to_owned()
        };
        assert!(!body("").contains("missing field"), "{path}: {}", body(""));
        for name in &required {
            assert!(body(name).contains(&format!("missing field `{name}`")), "{path}: {}", body(name));
        }
    }
}
