//! Bytes that are no good request.

use std::collections::BTreeMap;
use std::net::Shutdown;

use super::GOOD;
use crate::support::{Program, Random, count, root, tiny};

/// Damaged requests of all kinds, from a seed, with a good one now and then.
#[test]
fn damaged_requests_are_refused_and_nothing_breaks() {
    let models = [tiny(), vec![format!("embed={}", root("models/embed"))]].concat();
    let flags = ["--header-timeout-ms", "3000", "--body-timeout-ms", "3000", "--allow-cut-embeddings"];
    let server = Program::start(&models, &flags);
    let good = |(path, body): (&str, &str)| {
        let ask = |_| server.client().send("POST", path, &[], body.as_bytes()).ok();
        (0..20).find_map(ask).expect("one of twenty connections is answered").ok()
    };
    let expected = good(GOOD);
    let seeds = [
        (GOOD.0, GOOD.1),
        (
            "/api/v1/tiny-qa/answer",
            r#"{"question":["who?"],"context":"anna works in paris","top_k":3,"offsets":"utf16"}"#,
        ),
        ("/api/v1/tiny-ner/tag", r#"{"inputs":["anna","the city"],"aggregation_strategy":"none"}"#),
        ("/v1/embeddings", r#"{"model":"embed","input":["a"],"encoding_format":"base64","dimensions":4}"#),
    ];
    let mut random = Random(20_261_128);
    // The program takes what each kind of request needs once.
    seeds.into_iter().for_each(|seed| drop(good(seed)));
    let memory = server.resident();
    let (cases, mut statuses) = (count("MALFORMED", 400), BTreeMap::<u16, usize>::new());
    for case in 0..cases {
        let (path, body) = seeds[random.below(seeds.len())];
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        mutate(&mut bytes, &mut random);
        let mut client = server.client();
        // The server may close in the middle.
        let _ = client.raw(&bytes);
        let _ = client.stream.get_ref().shutdown(Shutdown::Write);
        while let Ok(answer) = client.read() {
            let fine = [200, 400, 404, 405, 408, 411, 413, 414, 415, 417, 421, 431, 501, 505]
                .contains(&answer.status);
            assert!(fine, "case {case}: {} to {}", answer.status, String::from_utf8_lossy(&bytes));
            *statuses.entry(answer.status).or_default() += 1;
        }
        if case % 50 == 0 {
            assert_eq!(good(GOOD), expected);
        }
    }
    assert_eq!(good(GOOD), expected);
    let ask = |_| server.client().send("GET", "/metrics", &[], b"").ok();
    let metrics = (0..20).find_map(ask).unwrap().text().to_owned();
    assert!(metrics.contains("mb_panics_total 0\n") && !metrics.contains("why=\"panic\""), "{metrics}");
    if let (Some(before), Some(after)) = (memory, server.resident()) {
        eprintln!("{cases} malformed requests, {statuses:?}, {before} bytes before and {after} after");
        assert!(after < before + (64 << 20), "{before} bytes became {after}");
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const WORDS: [&str; 14] = [
        "\"",
        "{",
        "[",
        "]",
        "}",
        "\r\n\r\n",
        "\\ud800",
        "99999999999999999999",
        "-1",
        "null",
        "content-length: 5\r\n",
        "transfer-encoding: chunked\r\n",
        "\0",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    ];
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.insert(at, random.next() as u8),
            4 => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
            _ => {
                let end = (at + random.below(30)).min(bytes.len());
                let piece = bytes[at..end].repeat(1 + random.below(3));
                bytes.splice(at..end, piece);
            }
        }
        if bytes.is_empty() {
            return;
        }
    }
}
