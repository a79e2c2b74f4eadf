//! The document of the routes knows the fields that the routes read.

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
        for required in schema["required"].as_array().unwrap() {
            let body = r#"{}"#;
            let missing = server.post(&format!("/api/v1/{path}"), body);
            assert!(missing.text().contains("missing field"), "{required}: {}", missing.text());
        }
    }
}
