//! The task API of Hugging Face, in the shapes that `InferenceClient` unpacks.

use serde_json::{Value, json};

use crate::support::{Server, root, tiny};

fn server() -> Server {
    let models = ["embed", "qa"].map(|name| format!("{name}={}", root(&format!("models/{name}"))));
    Server::start(&[models.to_vec(), tiny()].concat(), &[])
}

#[test]
fn every_task_has_the_shape_of_its_client() {
    let server = server();
    let post = |path: &str, body: Value| server.post(&format!("/models/{path}"), &body.to_string()).ok();
    let context = "naïve 😀. It was built by Ada.";
    let inputs = json!({"question": "Who built it?", "context": context});
    let answer = post("qa", json!({"inputs": inputs}));
    assert_eq!(answer["answer"], "Ada");
    // Offsets are code points.
    let place: String = context.chars().skip(answer["start"].as_u64().unwrap() as usize).take(3).collect();
    assert_eq!((place.as_str(), answer["end"].as_u64()), ("Ada", Some(context.chars().count() as u64 - 1)));
    let options = mobilebert::AnswerOptions::with(|o| {
        (o.max_answer_len, o.merge_equal_texts, o.null_competes) = (15, false, true);
    });
    let qa = mobilebert::QuestionAnswering::open(root("models/qa")).unwrap();
    let expected = qa.answer_with("Who built it?", context, &options).unwrap();
    assert_eq!(answer["score"].as_f64().unwrap() as f32, expected.score);
    let several =
        post("qa/pipeline/question-answering", json!({"inputs": inputs, "parameters": {"top_k": 2}}));
    assert_eq!(several.as_array().unwrap().len(), 2);

    let labels = post("tiny-classify", json!({"inputs": "a good film", "parameters": null}));
    assert!(labels[0][0]["label"].is_string() && labels[0][0]["score"].is_number(), "{labels}");
    let best = post(
        "tiny-classify/pipeline/text-classification",
        json!({"inputs": "a good film", "parameters": {"top_k": 1}}),
    );
    assert_eq!(best, json!([[labels[0][0]]]));
    let pair = post("tiny-classify", json!({"inputs": {"text": "a good film", "text_pair": "the city"}}));
    assert_ne!(pair, labels);
    let two = post("tiny-classify", json!({"inputs": ["a good film", "the city"]}));
    assert!(two.as_array().unwrap().len() == 2 && two[0] == labels[0], "{two}");

    let parameters = json!({"aggregation_strategy": "none", "ignore_labels": []});
    let entities = post("tiny-ner", json!({"inputs": "é anna works in paris", "parameters": parameters}));
    let first = &entities[0];
    assert!(
        first["entity"].is_string() && first["word"].is_string() && first["start"].is_u64(),
        "{entities}"
    );
    assert_eq!((&entities[1]["word"], &entities[1]["start"]), (&json!("anna"), &json!(2)));

    let fills = post(
        "tiny-mlm/pipeline/fill-mask",
        json!({"inputs": "paris is the [MASK] .", "parameters": {"top_k": 2}}),
    );
    assert_eq!(fills.as_array().unwrap().len(), 2);
    assert!(
        fills[0]["sequence"].is_string() && fills[0]["token_str"].is_string() && fills[0]["token"].is_u64()
    );

    let vectors = post("embed", json!({"inputs": "How old are you?", "normalize": true, "truncate": true}));
    assert_eq!(vectors, server.post("/embed", r#"{"inputs":"How old are you?"}"#).ok());
    let sentences =
        json!({"inputs": {"source_sentence": "How old are you?", "sentences": ["What is your age?", "No."]}});
    let cosines = post("embed/pipeline/sentence-similarity", sentences.clone());
    assert!(cosines[0].as_f64() > cosines[1].as_f64());
    assert_eq!(post("embed", sentences), cosines);
}

#[test]
fn errors_are_texts() {
    let server = server();
    // The message says what would have been right.
    for (path, body, status, expected) in [
        ("qa", r#"{"inputs":"a"}"#, 400, "expected an object"),
        // A list has no names.
        ("qa", r#"{"inputs":["a","b"]}"#, 400, "expected an object"),
        ("qa", r#"{"inputs":{"question":"a","context":"b"},"parameters":[3]}"#, 400, "expected an object"),
        ("qa", r#"{"inputs":{"question":"a"}}"#, 400, "missing field `context`"),
        (
            "qa",
            r#"{"inputs":{"question":"a","context":"b"},"parameters":{"top_k":"x"}}"#,
            400,
            "expected usize",
        ),
        ("qa", r#"{"inputs":{"question":"a","context":"b"},"parameters":3}"#, 400, "expected an object"),
        ("tiny-classify", r#"{"inputs":3}"#, 400, "expected a text, a list of texts, or an object with text"),
        ("tiny-ner", r#"{"inputs":{}}"#, 400, "expected a text or a list of texts"),
        ("qa/pipeline/fill-mask", r#"{"inputs":"a"}"#, 404, "needs a"),
        ("qa/pipeline/poetry", r#"{"inputs":"a"}"#, 404, "expected question-answering"),
        ("nobody", r#"{"inputs":"a"}"#, 404, "expected one of"),
    ] {
        let answer = server.post(&format!("/models/{path}"), body);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let message = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(message.contains(expected), "{path} {body}: {message}");
    }
}
