//! Under load every answer has the bits of the library's, whatever it shares passes with.

use std::sync::atomic::{AtomicUsize, Ordering};

use mobilebert::{
    AnswerOptions, Embedder, FillMask, QuestionAnswering, TagOptions, TextClassification, TokenClassification,
};
use serde_json::json;

use crate::support::{Client, Random, Server, count, root, tiny};

/// A request, and a piece of text that its answer must hold. Numbers are written so that they can be read
/// back exactly, so equal texts are equal bits.
struct Case {
    path: String,
    body: String,
    expected: String,
}

const WORDS: [&str; 12] =
    ["a", "good", "film", "anna", "works", "in", "paris", "the", "city", "was", "not", "bad"];

fn text(random: &mut Random, most: usize) -> String {
    let count = 1 + random.below(most);
    (0..count).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ")
}

fn cases() -> Vec<Case> {
    let checkpoint = |name: &str| root(&format!("tests/golden/checkpoints/{name}"));
    let qa = QuestionAnswering::open(checkpoint("mobilebert-f32")).unwrap();
    let classifier = TextClassification::open(checkpoint("bert-f32")).unwrap();
    let sentiment = TextClassification::open(root("models/sentiment")).unwrap();
    let tagger = TokenClassification::open(checkpoint("mobilebert-ner-f32")).unwrap();
    let filler = FillMask::open(checkpoint("mobilebert-mlm-f32")).unwrap();
    let embedder = Embedder::open(root("models/embed")).unwrap();
    let mut random = Random(1);
    let mut cases = Vec::new();
    for i in 0..60 {
        let line = text(&mut random, 40);
        let case = |path: &str, body: serde_json::Value, expected: String| Case {
            path: path.to_owned(),
            body: body.to_string(),
            expected,
        };
        let to_json = |value: &dyn erased::Serialize| value.to_json();
        cases.push(match i % 8 {
            0 => {
                let question = text(&mut random, 5);
                let options = AnswerOptions::with(|o| o.top_k = 3);
                let answers = qa.answers_with(&question, &line, &options).unwrap();
                let body = json!({"question": question, "context": line, "top_k": 3});
                case("/api/v1/tiny-qa/answer", body, to_json(&answers))
            }
            1 => {
                let found = classifier.classify(&line).unwrap();
                let best = found.best().unwrap();
                let expected =
                    format!("\"label\":{},\"score\":{}", to_json(&best.label), to_json(&best.score));
                case("/api/v1/tiny-classify/classify", json!({"inputs": line}), expected)
            }
            2 => {
                let found = sentiment.classify(&line).unwrap();
                let best = found.best().unwrap();
                let expected =
                    format!("\"label\":{},\"score\":{}", to_json(&best.label), to_json(&best.score));
                case("/api/v1/sentiment/classify", json!({"inputs": line}), expected)
            }
            3 => {
                let entities = tagger.tag_with(&line, &TagOptions::default()).unwrap();
                case("/api/v1/tiny-ner/tag", json!({"inputs": line}), to_json(&entities))
            }
            4 => {
                let masked = format!("{} [MASK]", text(&mut random, 10));
                let fills = filler.fill(&masked).unwrap();
                case("/api/v1/tiny-mlm/fill-mask", json!({"inputs": masked}), to_json(&fills[0]))
            }
            5 => {
                let vector = embedder.embed(&line).unwrap();
                case("/api/v1/embed/embed", json!({"inputs": line}), to_json(&vector))
            }
            6 => {
                let lines = [line, text(&mut random, 20)];
                let vectors = embedder.embed_batch(&lines).unwrap();
                let body = json!({"model": "embed", "input": lines});
                case("/v1/embeddings", body, to_json(&vectors[1].embedding))
            }
            _ => dialects(&classifier, &embedder, i, line),
        });
    }
    cases
}

/// The same results in the shapes of the other dialects.
fn dialects(classifier: &TextClassification, embedder: &Embedder, i: usize, line: String) -> Case {
    let best = classifier.classify(&line).unwrap().labels.remove(0);
    let vector = serde_json::to_string(&embedder.embed(&line).unwrap().embedding).unwrap();
    let (path, body, expected) = match i / 8 % 4 {
        0 => ("/embed", json!({"inputs": line, "truncate": true}), format!("[{vector}]")),
        1 => {
            let (label, score) = (&best.label, serde_json::to_string(&best.score).unwrap());
            let expected = format!("[{{\"score\":{score},\"label\":\"{label}\"}},");
            ("/tei/tiny-classify/predict", json!({"inputs": line}), expected)
        }
        2 => {
            let expected = format!("[[{},", serde_json::to_string(&best).unwrap());
            ("/models/tiny-classify", json!({"inputs": line}), expected)
        }
        _ => {
            let tensor = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": [line]});
            ("/v2/models/embed/infer", json!({"inputs": [tensor]}), format!("\"data\":{vector}}}"))
        }
    };
    Case { path: path.to_owned(), body: body.to_string(), expected }
}

mod erased {
    /// A value that can be written as JSON.
    pub(super) trait Serialize {
        fn to_json(&self) -> String;
    }

    impl<T: serde::Serialize> Serialize for T {
        fn to_json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}

/// `REQUESTS=20000 cargo test -p mobilebert-serve invariance` asks more.
#[test]
fn every_answer_under_load_has_the_bits_of_the_library() {
    let cases = cases();
    let models = [
        tiny(),
        vec![format!("sentiment={}", root("models/sentiment")), format!("embed={}", root("models/embed"))],
    ]
    .concat();
    let requests = count("REQUESTS", 1000);
    // A small budget mixes more, and a large one fills more.
    for budget in ["40", "512"] {
        // A machine that stands still for a while makes no request late.
        let flags = ["--budget-tokens", budget, "--threads", "3", "--deadline-ms", "300000"];
        let server = Server::start(&models, &flags);
        let left = AtomicUsize::new(requests);
        std::thread::scope(|scope| {
            for seed in 0..32u64 {
                let (cases, left, address) = (&cases, &left, server.running.address());
                scope.spawn(move || {
                    let mut random = Random(seed + 1);
                    let mut client = Client::new(address);
                    while left
                        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        let case = &cases[random.below(cases.len())];
                        let answer = client.post(&case.path, &case.body);
                        assert_eq!(answer.status, 200, "seed {seed}: {}", answer.text());
                        let text = answer.text();
                        assert!(
                            text.contains(&case.expected),
                            "seed {seed}, {} {}: {text}",
                            case.path,
                            case.body
                        );
                    }
                });
            }
        });
        let metrics = server.get("/metrics").text().to_owned();
        let value = |name: &str| -> f64 {
            let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        // Passes were shared, else the test would say nothing. How many were depends on the machine, but the
        // short texts of one request are queued together and so share one at the least.
        assert!(value("mb_sequences_total ") > value("mb_passes_total "), "{metrics}");
        assert_eq!((value("mb_queue_tokens "), value("mb_queue_requests ")), (0.0, 0.0));
        let (sequences, passes) = (value("mb_sequences_total "), value("mb_passes_total "));
        eprintln!(
            "{requests} answers within {budget} tokens a pass: {sequences} sequences in {passes} passes"
        );
    }
}
