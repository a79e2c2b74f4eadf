//! Traces: a small collector reads what the server sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, tiny, wait_until};

/// A collector that keeps what it gets.
struct Collector {
    endpoint: String,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    /// Starts one that answers with this status.
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut length, mut lines) = (0, Vec::new());
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    let line = line.trim_end().to_owned();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.parse().unwrap();
                    }
                    lines.push(line);
                }
                assert_eq!(lines[0], "POST /v1/traces HTTP/1.1");
                assert!(lines.contains(&"content-type: application/json".to_owned()), "{lines:?}");
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { endpoint, bodies }
    }

    /// Returns all spans.
    fn spans(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        let spans = |body: &Value| {
            let resource = &body["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["key"], "service.name");
            resource["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        };
        bodies.iter().flat_map(spans).collect()
    }
}

fn nanos(span: &Value, name: &str) -> u128 {
    span[name].as_str().unwrap().parse().unwrap()
}

fn attribute<'s>(span: &'s Value, key: &str) -> &'s Value {
    let attributes = span["attributes"].as_array().unwrap();
    &attributes.iter().find(|attribute| attribute["key"] == key).unwrap_or_else(|| panic!("{key}: {span}"))["value"]
}

const PATH: &str = "/api/v1/tiny-classify/classify";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_request_becomes_spans_below_the_one_that_asks() {
    let collector = Collector::start("200 OK");
    let server = Server::start(&tiny(), &["--trace-endpoint", &collector.endpoint]);
    let send = |flags: &str, text: &str| {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let headers = [("traceparent", parent.as_str()), ("x-request-id", "seven")];
        let body = format!(r#"{{"inputs":"{text}"}}"#);
        server.client().send("POST", PATH, &headers, body.as_bytes()).unwrap()
    };
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert_eq!(send("01", "a secret film").status, 200);
    // This one is not traced, as it says itself.
    assert_eq!(send("00", "another film").status, 200);
    wait_until("the spans have come", || !collector.spans().is_empty());
    let after = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["POST /api/v1/{model}/classify", "parse", "queue", "pass", "finish"]);
    let whole = &spans[0];
    assert_eq!(
        (&whole["traceId"], &whole["parentSpanId"], &whole["kind"]),
        (&TRACE.into(), &"00f067aa0ba902b7".into(), &2.into())
    );
    assert_eq!(attribute(whole, "http.response.status_code")["intValue"], "200");
    assert_eq!(attribute(whole, "mobilebert.model")["stringValue"], "tiny-classify");
    assert_eq!(attribute(whole, "mobilebert.request_id")["stringValue"], "seven");
    assert_ne!(attribute(whole, "mobilebert.tokens")["intValue"], "0");
    let (begin, end) = (nanos(whole, "startTimeUnixNano"), nanos(whole, "endTimeUnixNano"));
    assert!(before <= begin + 1_000_000 && begin < end && end <= after + 1_000_000);
    let mut last = begin;
    for step in &spans[1..] {
        assert_eq!((&step["traceId"], &step["parentSpanId"]), (&TRACE.into(), &whole["spanId"]));
        let (first, until) = (nanos(step, "startTimeUnixNano"), nanos(step, "endTimeUnixNano"));
        // The parts follow each other within the whole.
        assert!(last <= first + 1000 && first <= until && until <= end + 1000, "{step}");
        last = until;
    }
    let ids: std::collections::BTreeSet<&str> =
        spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), spans.len());
    assert!(!collector.bodies.lock().unwrap().iter().any(|body| body.to_string().contains("secret")));
}

#[test]
fn requests_without_a_trace_get_their_own_and_the_last_ones_are_sent_at_the_end() {
    let collector = Collector::start("200 OK");
    let server = Server::start(&tiny(), &["--trace-endpoint", &collector.endpoint]);
    for _ in 0..3 {
        assert_eq!(server.post(PATH, r#"{"inputs":"a film"}"#).status, 200);
    }
    assert_eq!(server.get("/nothing").status, 404);
    // A second has not passed, and they are sent all the same.
    assert!(server.running.drain());
    let spans = collector.spans();
    let whole: Vec<&Value> = spans.iter().filter(|span| span["kind"] == 2).collect();
    assert_eq!(whole.len(), 4);
    let traces: std::collections::BTreeSet<&str> =
        whole.iter().map(|span| span["traceId"].as_str().unwrap()).collect();
    assert_eq!(traces.len(), 4);
    assert!(whole.iter().all(|span| span.get("parentSpanId").is_none() && span.get("status").is_none()));
    let none = Server::start(&tiny(), &["--trace-endpoint", &collector.endpoint, "--trace-ratio", "0"]);
    assert_eq!(none.post(PATH, r#"{"inputs":"a film"}"#).status, 200);
    assert!(none.running.drain());
    assert_eq!(collector.spans().len(), spans.len());
}

/// A collector that is not there, or that refuses, costs requests nothing, and is counted.
#[test]
fn spans_that_cannot_be_sent_are_counted() {
    let refusing = Collector::start("503 Service Unavailable");
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for endpoint in [&refusing.endpoint, &nobody] {
        let server = Server::start(&tiny(), &["--trace-endpoint", endpoint]);
        let start = std::time::Instant::now();
        assert_eq!(server.post(PATH, r#"{"inputs":"a film"}"#).status, 200);
        assert!(start.elapsed() < Duration::from_secs(20));
        wait_until("it is counted", || {
            let metrics = server.get("/metrics").text().to_owned();
            let line =
                metrics.lines().find(|line| line.starts_with("mb_traces_dropped_total ")).unwrap().to_owned();
            !line.ends_with(" 0")
        });
    }
    for (flag, value) in
        [("--trace-endpoint", "https://a:4318"), ("--trace-ratio", "2"), ("--trace-ratio", "NaN")]
    {
        let arguments = ["mobilebert-serve", flag, value].map(std::ffi::OsString::from);
        let problem = mobilebert_serve::Config::from_args(arguments).unwrap_err().to_string();
        assert!(problem.contains(flag) && problem.contains(value), "{problem}");
    }
}
