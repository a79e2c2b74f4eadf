//! The Open Inference Protocol: texts and token ids, JSON and binary, all with the same bits.

use serde_json::{Value, json};

use crate::support::{Response, Server, root, tiny};

fn server() -> Server {
    Server::start(&[vec![format!("embed={}", root("models/embed"))], tiny()].concat(), &[])
}

fn infer(server: &Server, model: &str, body: &Value) -> Response {
    server.post(&format!("/v2/models/{model}/infer"), &body.to_string())
}

fn output<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let outputs = answer["outputs"].as_array().unwrap();
    outputs.iter().find(|output| output["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"))
}

#[test]
fn the_server_and_its_models_describe_themselves() {
    let server = server();
    let about = server.get("/v2").ok();
    assert_eq!(
        (&about["name"], &about["extensions"]),
        (&json!("mobilebert-serve"), &json!(["binary_tensor_data"]))
    );
    assert_eq!(server.get("/v2/health/live").ok(), json!({"live": true}));
    assert_eq!(server.get("/v2/health/ready").ok(), json!({"ready": true}));
    let model = server.get("/v2/models/tiny-qa").ok();
    assert_eq!((&model["versions"], &model["platform"]), (&json!(["1"]), &json!("mobilebert_safetensors")));
    assert_eq!(model["inputs"][0], json!({"name": "question", "datatype": "BYTES", "shape": [-1]}));
    assert_eq!(server.get("/v2/models/tiny-qa/versions/1").ok(), model);
    assert_eq!(server.get("/v2/models/tiny-qa/ready").ok(), json!({"name": "tiny-qa", "ready": true}));
    for path in ["/v2/models/nobody", "/v2/models/tiny-qa/versions/2", "/v2/models/nobody/ready"] {
        let answer = server.get(path);
        assert!(answer.status == 404 && answer.json()["error"].is_string(), "{path}");
    }
}

#[test]
fn texts_become_tensors_of_results() {
    let server = server();
    let text =
        json!({"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a good film", "the city"]});
    let classifier = mobilebert::TextClassification::open(root("tests/golden/checkpoints/bert-f32")).unwrap();
    let best = classifier.classify("a good film").unwrap();
    let found = infer(&server, "tiny-classify", &json!({"id": "7", "inputs": [text]})).ok();
    assert_eq!(
        (&found["id"], &found["model_name"], &found["model_version"]),
        (&json!("7"), &json!("tiny-classify"), &json!("1"))
    );
    assert_eq!(output(&found, "label")["data"][0], best.labels[0].label.as_str());
    let scores = output(&found, "scores");
    assert_eq!((&scores["datatype"], scores["shape"][0].as_u64()), (&json!("FP32"), Some(2)));
    let of_best = scores["data"].as_array().unwrap()[..classifier.engine().config().labels.len()].iter();
    assert!(of_best.map(|x| x.as_f64().unwrap() as f32).any(|score| score == best.labels[0].score));
    let only =
        infer(&server, "tiny-classify", &json!({"inputs": [text], "outputs": [{"name": "label"}]})).ok();
    assert_eq!(only["outputs"].as_array().unwrap().len(), 1);

    let inputs = json!([
        {"name": "question", "shape": [1], "datatype": "BYTES", "data": ["who?"]},
        {"name": "context", "shape": [1], "datatype": "BYTES", "data": ["anna works in paris"]},
    ]);
    let qa = mobilebert::QuestionAnswering::open(root("tests/golden/checkpoints/mobilebert-f32")).unwrap();
    let answer = qa.answer("who?", "anna works in paris").unwrap();
    let found = infer(&server, "tiny-qa", &json!({"inputs": inputs})).ok();
    assert_eq!(output(&found, "answer")["data"], json!([answer.answer]));
    assert_eq!(output(&found, "start")["data"], json!([answer.start]));
    assert_eq!(output(&found, "score")["data"][0].as_f64().unwrap() as f32, answer.score);
    let found = infer(&server, "tiny-ner", &json!({"inputs": [text]})).ok();
    let entities = output(&found, "entities")["data"][0].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(entities).unwrap().is_array());
    let found = infer(&server, "embed", &json!({"inputs": [text]})).ok();
    assert_eq!(output(&found, "embedding")["shape"], json!([2, 384]));
}

/// The four mixes of JSON and binary give the same numbers.
#[test]
fn binary_tensors_have_the_bits_of_those_in_json() {
    let server = server();
    let texts = ["a good film", "naïve 😀"];
    let plain = json!({"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": texts}]});
    let expected = infer(&server, "embed", &plain).ok();
    let expected: Vec<f32> = output(&expected, "embedding")["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap() as f32)
        .collect();
    let mut tail = Vec::new();
    for text in texts {
        tail.extend((text.len() as u32).to_le_bytes());
        tail.extend(text.as_bytes());
    }
    let size = json!({"binary_data_size": tail.len()});
    let head = json!({
        "parameters": {"binary_data_output": true},
        "inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "parameters": size}],
    })
    .to_string();
    let length = head.len().to_string();
    let headers =
        [("content-type", "application/octet-stream"), ("inference-header-content-length", length.as_str())];
    let body = [head.as_bytes(), &tail].concat();
    let answer = server.client().send("POST", "/v2/models/embed/infer", &headers, &body).unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    let split: usize = answer.header("inference-header-content-length").unwrap().parse().unwrap();
    let found: Value = serde_json::from_slice(&answer.body[..split]).unwrap();
    assert_eq!(output(&found, "embedding")["parameters"]["binary_data_size"], json!(2 * 384 * 4));
    let numbers: Vec<f32> = answer.body[split..]
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(numbers, expected);
    // Bytes that no tensor asks for, and a header beyond the body.
    let more = [&body[..], b"x"].concat();
    assert_eq!(server.client().send("POST", "/v2/models/embed/infer", &headers, &more).unwrap().status, 400);
    let headers = [("inference-header-content-length", "999999")];
    assert_eq!(server.client().send("POST", "/v2/models/embed/infer", &headers, &body).unwrap().status, 400);
}

#[test]
fn token_ids_become_logits_and_padding_changes_nothing() {
    let server = server();
    let tensor = |name: &str, shape: [usize; 2], data: &[i64]| -> Value {
        json!({"name": name, "shape": shape, "datatype": "INT64", "data": data})
    };
    let ids = [2, 9, 20, 3, 2, 9, 3, 0];
    let body = json!({"inputs": [
        tensor("input_ids", [2, 4], &ids),
        tensor("attention_mask", [2, 4], &[1, 1, 1, 1, 1, 1, 1, 0]),
    ]});
    let engine =
        mobilebert::Engine::open(root("tests/golden/checkpoints/mobilebert-f32"), Default::default())
            .unwrap();
    let mut batch = mobilebert::Batch::new();
    batch.push(&[2, 9, 20, 3], &[0; 4]).unwrap();
    batch.push(&[2, 9, 3], &[0; 3]).unwrap();
    let mut expected = engine.forward(&batch).unwrap().values().to_vec();
    expected.extend([0.0, 0.0]);
    let found = infer(&server, "tiny-qa", &body).ok();
    let logits = output(&found, "logits");
    assert_eq!(logits["shape"], json!([2, 4, 2]));
    let numbers: Vec<f32> =
        logits["data"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
    assert_eq!(numbers, expected);
    let found = infer(&server, "tiny-classify", &body).ok();
    assert_eq!(output(&found, "logits")["shape"][0], 2);
    let found = infer(&server, "tiny-mlm", &body).ok();
    assert_eq!(output(&found, "logits")["shape"], json!([2, 4, engine.config().vocab_size]));

    for (inputs, message) in [
        (json!([tensor("input_ids", [1, 2], &[2, 99_999])]), "vocab_size"),
        (json!([tensor("input_ids", [1, 2], &[2, -1])]), "0 or more"),
        (json!([tensor("input_ids", [1, 2], &[2, 3]), tensor("attention_mask", [1, 1], &[1])]), "shape"),
        (json!([tensor("input_ids", [1, 2], &[2, 3]), tensor("attention_mask", [1, 2], &[0, 1])]), "padding"),
        (json!([tensor("input_ids", [1, 2], &[2, 3]), tensor("token_type_ids", [1, 2], &[0, 9])]), "type"),
        (json!([tensor("input_ids", [1, 2], &[2, 3]), tensor("other", [1, 2], &[0, 9])]), "other"),
        (json!([tensor("input_ids", [0, 0], &[])]), ""),
        (json!([tensor("input_ids", [1, 0], &[])]), ""),
        (json!([tensor("input_ids", [1, 30], &[2; 30])]), "max_position_embeddings"),
        (json!([{"name": "input_ids", "shape": [2], "datatype": "INT64", "data": [2, 3]}]), "[rows, tokens]"),
        (json!([]), "there is no tensor"),
    ] {
        let answer = infer(&server, "tiny-qa", &json!({"inputs": inputs}));
        assert_eq!(answer.status, 400, "{inputs}: {}", answer.text());
        let found = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(found.contains(message), "{inputs}: {found}");
    }
    let late = json!({"parameters": {"timeout": "soon"}, "inputs": [tensor("input_ids", [1, 2], &[2, 3])]});
    assert_eq!(infer(&server, "tiny-qa", &late).status, 400);
}

/// Outputs that there are not, or that are asked for twice, are refused.
#[test]
fn each_output_is_asked_for_once() {
    let server = server();
    let text = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a good film"]});
    let ids = json!({"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [2, 3]});
    for (input, outputs, message) in [
        (&text, vec!["label", "label"], "twice"),
        (&text, vec!["logits"], "expected some of label, scores"),
        (&ids, vec!["label"], "expected some of logits"),
        (&ids, vec!["logits", "logits"], "twice"),
    ] {
        let outputs: Vec<Value> = outputs.iter().map(|name| json!({"name": name})).collect();
        let body = json!({"inputs": [input], "outputs": outputs});
        let answer = infer(&server, "tiny-classify", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(message), "{}", answer.text());
        assert!(answer.header("x-tokens").is_none(), "nothing was computed");
    }
    let body = json!({"inputs": [text], "outputs": [{"name": "scores"}, {"name": "label"}]});
    let found = infer(&server, "tiny-classify", &body).ok();
    let names: Vec<&str> =
        found["outputs"].as_array().unwrap().iter().map(|output| output["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["scores", "label"]);
}

/// Tensors that nothing reads, or that are there twice, are refused.
#[test]
fn each_input_is_one_that_is_read_and_is_there_once() {
    let server = server();
    let texts =
        |name: &str| json!({"name": name, "shape": [1], "datatype": "BYTES", "data": ["a good film"]});
    let ids = |name: &str| json!({"name": name, "shape": [1, 2], "datatype": "INT64", "data": [2, 3]});
    for (model, inputs, message) in [
        ("tiny-classify", json!([texts("text"), texts("text")]), "\"text\" is there twice"),
        (
            "tiny-classify",
            json!([texts("text"), texts("texts")]),
            "\"texts\" is not read here; expected some of text",
        ),
        ("tiny-ner", json!([texts("text"), texts("question")]), "\"question\" is not read here"),
        (
            "tiny-qa",
            json!([texts("question"), texts("context"), texts("context")]),
            "\"context\" is there twice",
        ),
        (
            "tiny-qa",
            json!([texts("question"), texts("context"), texts("text")]),
            "expected some of question, context",
        ),
        ("tiny-qa", json!([ids("input_ids"), ids("input_ids")]), "\"input_ids\" is there twice"),
        ("tiny-qa", json!([ids("input_ids"), texts("question")]), "\"question\" is not read here"),
        // A list has no names.
        ("tiny-classify", json!([["text", [1], "BYTES", null, ["a good film"]]]), "expected an object"),
    ] {
        let answer = infer(&server, model, &json!({ "inputs": inputs }));
        assert_eq!(answer.status, 400, "{}", answer.text());
        let found = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(found.contains(message), "{found}");
    }
}
