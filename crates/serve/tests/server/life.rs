//! From the start to the end: what is answered while models load, while they are loaded again, and while the
//! server stops.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Client, Server, SetOnDrop, copy, count, root, tiny, wait_until};

const GOOD: (&str, &str) = ("/api/v1/tiny-classify/classify", r#"{"inputs":"a good film"}"#);

#[test]
fn live_comes_before_ready() {
    let server = Server::start_unloaded(&tiny(), &[]);
    assert_eq!([server.get("/live").status, server.get("/ready").status], [200, 503]);
    let early = server.post(GOOD.0, GOOD.1);
    assert_eq!((early.code(), early.header("retry-after")), ((503, "unavailable".to_owned()), Some("1")));
    server.running.load().unwrap();
    assert_eq!([server.get("/ready").status, server.post(GOOD.0, GOOD.1).status], [200, 200]);
}

#[test]
fn models_that_cannot_be_loaded_are_named() {
    let server = Server::start_unloaded(&["x=/no/such/model".to_owned()], &[]);
    let problem = server.running.load().unwrap_err();
    assert!(problem.starts_with("model `x`: ") && problem.contains("/no/such/model"), "{problem}");
}

#[test]
fn each_request_is_a_line_of_the_log_without_its_texts() {
    let server = Server::start(&tiny(), &["--log", "json"]);
    let headers = [("x-request-id", "mine"), ("content-type", "application/json")];
    server.client().send("POST", GOOD.0, &headers, GOOD.1.as_bytes()).unwrap().ok();
    server.post("/api/v1/secret-name/classify", r#"{"inputs":"a good film"}"#);
    server.get("/secret-path?secret=1");
    let log = server.log.text();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<&Value> = lines.iter().filter(|line| line["event"] == "request").collect();
    let first = requests[0];
    assert_eq!(
        (&first["id"], &first["status"], &first["model"]),
        (&"mine".into(), &200.into(), &"tiny-classify".into())
    );
    assert_eq!((&first["route"], &first["tokens"]), (&"/api/v1/{model}/classify".into(), &5.into()));
    assert_eq!((&requests[1]["status"], &requests[1]["code"]), (&404.into(), &"unknown_model".into()));
    assert_eq!((&requests[2]["route"], &requests[2]["status"]), (&"none".into(), &404.into()));
    assert!(!log.contains("film") && !log.contains("secret"), "{log}");
    // What clients send makes no new labels either.
    let metrics = server.get("/metrics").text().to_owned();
    assert!(!metrics.contains("secret"), "{metrics}");
    let counted =
        "mb_requests_total{model=\"tiny-classify\",task=\"classify\",dialect=\"native\",code=\"200\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("mb_model_info{model=\"tiny-qa\",sha=\""), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            value.parse::<f64>().is_ok()
                && ["mb_", "te_", "process_"].iter().any(|known| name.starts_with(known)),
            "{line}"
        );
    }
}

/// Each answer belongs to the weights that its header names, and a broken folder changes nothing.
/// `RELOADS=15 cargo test -p mobilebert-serve loaded_again` is the promise, which is about half a minute.
#[test]
fn models_are_loaded_again_under_load() {
    // Every third round has no model to load.
    let rounds = count("RELOADS", 6).max(3);
    const TWO: [&str; 2] = ["tests/golden/checkpoints/bert-f32", "tests/golden/checkpoints/distilbert-f32"];
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let expected: Vec<(String, String)> = TWO
        .iter()
        .map(|source| {
            let files = mobilebert::ModelFiles::resolve(root(source)).unwrap();
            let found =
                mobilebert::TextClassification::open(root(source)).unwrap().classify("a good film").unwrap();
            (files.weights_sha256().unwrap(), serde_json::to_string(&found.labels[0].score).unwrap())
        })
        .collect();
    copy(TWO[0], &model);
    let server = Server::start(&[format!("m={}", model.display())], &[]);
    let (done, answers) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = server.client();
                while !done.load(Ordering::Acquire) {
                    let answer = client.post("/api/v1/m/classify", GOOD.1);
                    answer.ok();
                    let sha = answer.header("x-model-sha").unwrap();
                    let which = expected.iter().position(|(known, _)| known == sha).unwrap();
                    assert!(
                        answer.text().contains(&format!("\"score\":{},", expected[which].1)),
                        "{}",
                        answer.text()
                    );
                    answers[which].fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let _done = SetOnDrop(&done);
        let answered = |which: usize| {
            let before = answers[which].load(Ordering::Acquire);
            wait_until("a model answers", || answers[which].load(Ordering::Acquire) > before);
        };
        answered(0);
        let rest =
            if std::env::var_os("RELOADS").is_some() { Duration::from_secs(2) } else { Duration::ZERO };
        for round in 1..=rounds {
            std::thread::sleep(rest);
            fs::remove_dir_all(&model).unwrap();
            if round % 3 == 0 {
                assert!(!server.running.reload(), "there is no model");
                assert!(server.log.text().contains("the old models stay: model `m`"));
            }
            copy(TWO[round % 2], &model);
            assert!(server.running.reload());
            answered(round % 2);
        }
    });
    let metrics = server.get("/metrics").text().to_owned();
    let failures = format!("mb_reloads_total{{result=\"failure\"}} {}\n", rounds / 3);
    assert!(metrics.contains(&failures), "{metrics}");
    eprintln!("{rounds} reloads, answers of the two models: {answers:?}");
}

/// Every request that was accepted is answered, once, and the server ends soon.
/// `DRAINS=20 cargo test -p mobilebert-serve answers_what_it_accepted` is the promise.
#[test]
fn a_server_that_stops_answers_what_it_accepted() {
    let (rounds, mut longest) = (count("DRAINS", 3), Duration::ZERO);
    for _ in 0..rounds {
        let server = Server::start(&tiny(), &["--drain-delay-ms", "30", "--log", "json"]);
        let (log, running) = (server.log.clone(), server.running);
        let clients: Vec<Client> = (0..8).map(|_| Client::new(running.address())).collect();
        let (answered, refused, closed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _done = SetOnDrop(&done);
            for mut client in clients {
                let (answered, refused, closed, done) = (&answered, &refused, &closed, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        let headers = [("content-type", "application/json")];
                        match client.send("POST", GOOD.0, &headers, GOOD.1.as_bytes()) {
                            Ok(answer) if answer.status == 200 => {
                                answered.fetch_add(1, Ordering::AcqRel);
                                if answer.header("connection") == Some("close") {
                                    break;
                                }
                            }
                            Ok(answer) => {
                                assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
                                refused.fetch_add(1, Ordering::AcqRel);
                                break;
                            }
                            Err(_) => {
                                closed.fetch_add(1, Ordering::AcqRel);
                                break;
                            }
                        }
                    }
                });
            }
            wait_until("someone is answered", || answered.load(Ordering::Acquire) > 0);
            let start = Instant::now();
            assert!(running.drain(), "all that was accepted was answered: {}", log.text());
            longest = longest.max(start.elapsed());
            assert!(longest < Duration::from_secs(60), "{longest:?}");
        });
        let counts = [&answered, &refused, &closed].map(|count| count.load(Ordering::Acquire));
        // What was computed was received: a client that found a closed door had not been let in.
        let log = log.text();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let computed = lines.filter(|line| line["event"] == "request" && line["status"] == 200).count();
        assert_eq!(computed, counts[0], "answered, refused, closed: {counts:?}; {log}");
    }
    eprintln!("{rounds} stops, each within {longest:?}");
    if std::env::var_os("DRAINS").is_some() {
        assert!(longest < Duration::from_secs(25), "{longest:?}");
    }
}

#[test]
fn ready_says_no_while_the_server_leaves() {
    // The requests have to come before the delay is over, for which a busy machine may need a longer one.
    let in_time = ["500", "4000", "32000"].into_iter().any(|delay| {
        let server = Server::start(&tiny(), &["--drain-delay-ms", delay]);
        let (address, log) = (server.running.address().to_owned(), server.log.clone());
        std::thread::scope(|scope| {
            let start = Instant::now();
            let drained = scope.spawn(|| server.running.drain());
            wait_until("it says that it stops", || log.text().contains("stopping"));
            let ask = || -> std::io::Result<[u16; 3]> {
                let mut client = Client::connect(&address)?;
                let mut get = |path| client.send("GET", path, &[], b"").map(|answer| answer.status);
                let (ready, live) = (get("/ready")?, get("/live")?);
                let headers = [("content-type", "application/json")];
                let answer = client.send("POST", GOOD.0, &headers, GOOD.1.as_bytes())?;
                Ok([ready, live, answer.status])
            };
            let statuses = ask();
            let in_time = start.elapsed().as_millis() < delay.parse::<u128>().unwrap();
            assert!(drained.join().unwrap());
            if in_time {
                assert_eq!(statuses.unwrap(), [503, 200, 200]);
            }
            in_time
        })
    });
    assert!(in_time, "this machine is too busy");
}

/// An answer that a slow client reads while the server drains arrives whole.
#[test]
fn a_big_answer_is_sent_to_the_end_while_the_server_stops() {
    use std::io::{BufRead as _, Read as _};
    let server = Server::start(&tiny(), &[]);
    let mut client = server.client();
    let text = "a b c d ".repeat(120_000);
    let body = serde_json::json!({ "inputs": text }).to_string();
    let head = format!(
        "POST /api/v1/tiny-classify/tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.raw(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        client.stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    assert!(length > 8 << 20, "{length} bytes may fit into the system's buffers");
    let log = server.log.clone();
    std::thread::scope(|scope| {
        let drained = scope.spawn(|| server.running.drain());
        while !log.text().contains("stopping") {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (mut read, mut piece) = (0, vec![0; 128 << 10]);
        let start = Instant::now();
        loop {
            let count = client.stream.read(&mut piece).unwrap();
            if count == 0 {
                break;
            }
            read += count;
            // At first the client takes a rest that is longer than that of connections without a request.
            let pause = if start.elapsed() < Duration::from_secs(1) { 100 } else { 5 };
            std::thread::sleep(Duration::from_millis(pause));
        }
        assert_eq!(read, length);
        assert!(drained.join().unwrap());
    });
}

/// Without `--model` the built-in models are served.
#[test]
fn the_built_in_models_are_found() {
    if !Path::new(&root("models/qa")).is_dir() {
        eprintln!("SKIPPED: the checkout has no models");
        return;
    }
    let server = Server::start(&[], &[]);
    let models = server.get("/api/v1/models").ok();
    let names: Vec<&str> =
        models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["qa", "sentiment", "ner", "embed"]);
}

/// The program goes on to answer when nobody reads its log, and a signal to stop counts while models are
/// loaded again.
#[cfg(unix)]
#[test]
fn a_log_that_nobody_reads_hinders_nobody() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let mut program = Command::new(env!("CARGO_BIN_EXE_mobilebert-serve"));
    program.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
    tiny().iter().for_each(|model| {
        program.args(["--model", model]);
    });
    let mut child = program.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    while line.trim() != "ready" {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0);
    }
    let mut client = Client::new(&address);
    let id = "x".repeat(128);
    // A pipe holds 64 KiB, and the server some thousand lines.
    for _ in 0..6000 {
        assert_eq!(client.send("GET", "/live", &[("x-request-id", &id)], b"").unwrap().status, 200);
    }
    let metrics = client.send("GET", "/metrics", &[], b"").unwrap().text().to_owned();
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("mb_log_dropped_total ")).unwrap();
    assert!(dropped.parse::<u64>().unwrap() > 0, "{metrics}");
    drop(client);
    for signal in ["-HUP", "-HUP", "-HUP", "-TERM"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Weights that compute other numbers than before are refused, unless their configuration is another one.
#[test]
fn another_configuration_of_the_same_weights_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy("tests/golden/checkpoints/bert-f32", &model);
    let server = Server::start(&[format!("m={}", model.display())], &[]);
    let check = || server.get("/api/v1/models").ok()["models"][0]["self_check"].clone();
    let (before, path) = (check(), model.join("config.json"));
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 0.01")).unwrap();
    assert!(server.running.reload(), "{}", server.log.text());
    assert_ne!(check(), before);
}

/// Requests are counted and have their line also if nobody waits for the answer.
#[test]
fn a_request_whose_client_goes_has_a_line() {
    let models = [format!("embed={}", root("models/embed"))];
    let server = Server::start(&models, &["--threads", "1"]);
    let all: Vec<String> = (0..500).map(|i| format!("word {i} ").repeat(40)).collect();
    let body = serde_json::json!({ "inputs": all }).to_string();
    let head = format!(
        "POST /api/v1/embed/embed HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = server.client();
    client.raw(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    wait_until("it is queued", || server.get("/metrics").text().contains("\nmb_queue_requests 1\n"));
    drop(client);
    let line = "task=\"embed\",dialect=\"native\",code=\"499\"} 1";
    wait_until("it is counted", || server.get("/metrics").text().contains(line));
    wait_until("it has a line", || server.log.text().contains("embed 499 gone"));
}
