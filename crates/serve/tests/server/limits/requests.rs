//! One request: its type and coding, its size and that of its results, its time.

use std::io::Read as _;

use serde_json::json;

use super::{GOOD, asked};
use crate::support::{Server, tiny, wait_until};

#[test]
fn bodies_have_a_size_a_type_and_a_coding() {
    let server = Server::start(&tiny(), &["--max-body-bytes", "1000"]);
    let (path, body) = GOOD;
    let json_type = ("content-type", "application/json");
    let large = format!("{{\"inputs\":\"{}\"}}", "a ".repeat(1000));
    let refused = server.post(path, &large);
    assert_eq!(refused.code(), (413, "too_large".to_owned()));
    assert!(refused.text().contains("--max-body-bytes") && refused.header("connection") == Some("close"));
    for (kind, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/octet-stream", 415),
        ("application/x-www-form-urlencoded", 415),
    ] {
        let answer = server.client().send("POST", path, &[("content-type", kind)], body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
    }
    // A list could be read as the fields in their order.
    for list in [r#"["a joy to watch"]"#, r#"[{"inputs":"a joy to watch"}]"#, "\"a joy to watch\"", "7"] {
        let refused = server.post(path, list);
        assert_eq!(refused.code().0, 400, "{}", refused.text());
        assert!(refused.text().contains("expected a JSON object"), "{}", refused.text());
    }
    let packed = |text: &str, zlib: bool| {
        let mut bytes = Vec::new();
        let level = flate2::Compression::fast();
        match zlib {
            true => flate2::read::ZlibEncoder::new(text.as_bytes(), level).read_to_end(&mut bytes).unwrap(),
            false => flate2::read::GzEncoder::new(text.as_bytes(), level).read_to_end(&mut bytes).unwrap(),
        };
        bytes
    };
    let alone = server.post(path, body).ok();
    for (coding, bytes) in
        [("gzip", packed(body, false)), ("deflate", packed(body, true)), ("identity", body.into())]
    {
        let headers = [json_type, ("content-encoding", coding)];
        assert_eq!(server.client().send("POST", path, &headers, &bytes).unwrap().ok(), alone);
    }
    let bomb = packed(&large, false);
    assert!(bomb.len() < 100);
    for (coding, bytes, status) in [
        ("gzip", bomb, 413),
        ("gzip", b"no gzip".to_vec(), 400),
        ("br", body.into(), 415),
        ("zstd", body.into(), 415),
    ] {
        let headers = [json_type, ("content-encoding", coding)];
        assert_eq!(server.client().send("POST", path, &headers, &bytes).unwrap().status, status);
    }
    // In chunks, without a length.
    let mut client = server.client();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    client
        .raw(
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(client.read().unwrap().ok(), alone);
}

/// Several members of gzip are one text.
#[test]
fn all_members_of_gzip_are_read() {
    let server = Server::start(&tiny(), &[]);
    let packed = |text: &str| {
        let mut bytes = Vec::new();
        let level = flate2::Compression::fast();
        flate2::read::GzEncoder::new(text.as_bytes(), level).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (one, two) = GOOD.1.split_at(9);
    let body = [packed(one), packed(two)].concat();
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let found = server.client().send("POST", GOOD.0, &headers, &body).unwrap().ok();
    assert_eq!(found, server.post(GOOD.0, GOOD.1).ok());
}

#[test]
fn methods_paths_and_ids() {
    let server = Server::start(&tiny(), &[]);
    let wrong = server.get(GOOD.0);
    assert_eq!((wrong.code(), wrong.header("allow")), ((405, "wrong_method".to_owned()), Some("POST")));
    assert_eq!(server.get("/nothing").code(), (404, "not_found".to_owned()));
    assert_eq!(server.get("/../etc/passwd").status, 404);
    let mut client = server.client();
    let head = "HEAD /live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    client.raw(head.as_bytes()).unwrap();
    let mut byte = [0; 12];
    client.stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"HTTP/1.1 200");
    let id = |given: &str| {
        let answer = server.client().send("GET", "/live", &[("x-request-id", given)], b"").unwrap();
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("abc-1"), "abc-1");
    for strange in ["", "a b", &"x".repeat(129)] {
        assert_ne!(id(strange), strange);
    }
    assert_ne!(id(""), id(""));
    let deadline = |value: &str| {
        let headers = [("content-type", "application/json"), ("x-deadline-ms", value)];
        server.client().send("POST", GOOD.0, &headers, GOOD.1.as_bytes()).unwrap().status
    };
    assert_eq!([deadline("5000"), deadline("0"), deadline("soon"), deadline("-1")], [200, 400, 400, 400]);
}

/// What a request asks for is bounded before anything is computed, in each dialect.
#[test]
fn results_have_a_number_and_a_size() {
    let server = Server::start(&tiny(), &[]);
    let answer = |options: serde_json::Value, context: &str| {
        let mut body = json!({"question": "who?", "context": context});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        server.post("/api/v1/tiny-qa/answer", &body.to_string())
    };
    let context = "anna works in paris ".repeat(10);
    for (top_k, most, status) in [(1000, 50, 200), (130, 384, 200), (1000, 51, 400), (131, 384, 400)] {
        let found = answer(json!({"top_k": top_k, "max_answer_len": most}), &context);
        assert_eq!(found.status, status, "{top_k} answers of {most} tokens: {}", found.text());
    }
    let refused = answer(json!({"top_k": 1000, "max_answer_len": 384}), &context);
    assert!(refused.text().contains("at most 130 where `max_answer_len` is 384"), "{}", refused.text());
    let refused = answer(json!({"top_k": 1001}), &context);
    assert_eq!(refused.code(), (400, "invalid".to_owned()));
    assert!(refused.text().contains("at most 1000"), "{}", refused.text());
    assert_eq!(answer(json!({"max_answer_len": 385}), &context).code(), (400, "invalid".to_owned()));
    // One token may be a very long word, of which each answer has a copy.
    let long = format!("anna {} paris", "x".repeat(100_000));
    assert_eq!(answer(json!({"top_k": 5}), &long).status, 200);
    assert_eq!(answer(json!({"top_k": 1000}), &long).code(), (413, "too_large".to_owned()));
    // A long context of short words is no such case.
    let words = "anna works in paris ".repeat(2000);
    let options = json!({"top_k": 100, "doc_stride": 0, "max_answer_len": 5});
    let found = answer(options, &words);
    assert_ne!(found.status, 400, "{}", found.text());
    assert!(!found.text().contains("top_k"), "{}", found.text());
    let hf = |parameters: serde_json::Value| {
        let inputs = json!({"question": "who?", "context": long});
        server
            .post("/models/tiny-qa", &json!({"inputs": inputs, "parameters": parameters}).to_string())
            .status
    };
    let statuses = [json!({"top_k": 1001}), json!({"max_answer_len": 385}), json!({"top_k": 1000})].map(hf);
    assert_eq!(statuses, [400, 400, 413]);

    let masks = |text: &str, top_k: usize| {
        let native = json!({"inputs": text, "top_k": top_k}).to_string();
        let hf = json!({"inputs": text, "parameters": {"top_k": top_k}}).to_string();
        [
            server.post("/api/v1/tiny-mlm/fill-mask", &native).status,
            server.post("/models/tiny-mlm", &hf).status,
        ]
    };
    let long = format!("[MASK] [MASK] {}", "x".repeat(900_000));
    assert_eq!(masks("paris is [MASK]", 1000), [200, 200]);
    assert_eq!(masks("paris is [MASK]", 1001), [400, 400]);
    assert_eq!(masks(&long, 1), [200, 200]);
    assert_eq!(masks(&long, 100), [413, 413]);
    let text = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": [long]});
    let wide = format!("{} {}", "[MASK] ".repeat(8), "x".repeat(900_000));
    let wide = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": [wide]});
    let oip =
        |input| server.post("/v2/models/tiny-mlm/infer", &json!({"inputs": [input]}).to_string()).status;
    assert_eq!([oip(text), oip(wide)], [200, 413]);
}

#[test]
fn the_time_that_openais_clients_wait_only_makes_a_deadline_earlier() {
    let server = Server::start(&tiny(), &["--deadline-ms", "1", "--threads", "1"]);
    let texts: Vec<String> = (0..200).map(|i| format!("a good film {i} {}", "not bad ".repeat(5))).collect();
    let body = json!({ "inputs": texts }).to_string();
    let status = |server: &Server, header: (&str, &str), body: &str| {
        let headers = [("content-type", "application/json"), header];
        server.client().send("POST", GOOD.0, &headers, body.as_bytes()).unwrap().status
    };
    // The default of these clients is ten minutes.
    assert_eq!(status(&server, ("x-stainless-read-timeout", "600"), &body), 504);
    let server = Server::start(&tiny(), &["--threads", "1"]);
    assert_eq!(status(&server, ("x-stainless-read-timeout", "0.001"), &body), 504);
    for wait in ["600", "12.5", "NaN", "-1", "0", "soon", "1e300"] {
        assert_eq!(status(&server, ("x-stainless-read-timeout", wait), GOOD.1), 200, "{wait}");
    }
}

/// A deadline counts while a long body is read, too, and what nobody waits for gives its memory back.
#[test]
fn a_deadline_counts_while_a_long_body_becomes_tokens() {
    let server = Server::start(&tiny(), &[]);
    let body = json!({"inputs": "a b c d ".repeat(120_000)}).to_string();
    let path = "/api/v1/tiny-classify/tokenize";
    let send = |millis: &str| {
        let headers = [("content-type", "application/json"), ("x-deadline-ms", millis)];
        server.client().send("POST", path, &headers, body.as_bytes()).unwrap()
    };
    assert_eq!(send("15").code(), (504, "deadline_exceeded".to_owned()));
    assert_eq!(send("60000").status, 200);
    wait_until("all memory for bodies has come back", || {
        asked(&server, "GET", "/metrics", "").text().contains("\nmb_body_bytes 0\n")
    });
}

/// What a client sent is not repeated at any length.
#[test]
fn refusals_are_short() {
    let server = Server::start(&tiny(), &[]);
    // Each of these characters would be six where it is quoted.
    let long = "\u{7f}".repeat(300_000);
    let tensor = |name: &str, datatype: &str, shape: serde_json::Value| json!({"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": ["a"]}]});
    for (path, body) in [
        ("/v2/models/tiny-classify/infer", tensor(&long, "BYTES", json!([1]))),
        ("/v2/models/tiny-classify/infer", tensor("text", &long, json!([1]))),
        ("/v2/models/tiny-classify/infer", tensor("text", "BYTES", json!(vec![1; 300_000]))),
        ("/v1/embeddings", json!({"model": "tiny-qa", "input": "a", "encoding_format": long})),
        ("/v1/embeddings", json!({"model": long, "input": "a"})),
        ("/embed", json!({"inputs": "a", "truncation_direction": long})),
        ("/embed", json!({"inputs": "a", "prompt_name": long})),
        ("/models/tiny-qa/pipeline/feature-extraction", json!({"inputs": "a", "prompt_name": long})),
        ("/api/v1/tiny-qa/tokenize", json!({"inputs": "a", "offsets": long})),
        ("/api/v1/tiny-qa/tokenize", json!({"inputs": "a", long.as_str(): 1})),
    ] {
        let answer = server.post(path, &body.to_string());
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        assert!(answer.body.len() < 16 << 10, "{path}: {} bytes", answer.body.len());
    }
}
