//! Who may use the server, and from where: names of hosts, origins of pages, administrators.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Client, Server, copy, root, tiny};

const GOOD: (&str, &str) = ("/api/v1/tiny-classify/classify", r#"{"inputs":"a good film"}"#);
const LOAD: &str = "/v2/repository/models/m/load";
const UNLOAD: &str = "/v2/repository/models/m/unload";
const JSON: (&str, &str) = ("content-type", "application/json");

/// Asks with another name of the host.
fn ask_as(server: &Server, host: Option<&str>) -> u16 {
    let mut client = server.client();
    let host = host.map_or_else(String::new, |host| format!("host: {host}\r\n"));
    let (path, body) = GOOD;
    let head = format!("POST {path} HTTP/1.1\r\n{host}content-length: {}\r\n\r\n{body}", body.len());
    client.raw(head.as_bytes()).unwrap();
    client.read().unwrap().status
}

/// A page whose name was made to lead to this machine gets nothing.
#[test]
fn on_loopback_only_names_of_this_machine_are_answered() {
    let server = Server::start(&tiny(), &[]);
    for host in ["localhost", "127.0.0.1:8080", "[::1]:1", "LOCALHOST:9", "a.localhost", "10.0.0.1"] {
        assert_eq!(ask_as(&server, Some(host)), 200, "{host}");
    }
    for host in ["rebound.example", "rebound.example:8080", "127.0.0.1.rebound.example", ""] {
        assert_eq!(ask_as(&server, Some(host)), 421, "{host}");
    }
    // Browsers always name the host.
    assert_eq!(ask_as(&server, None), 200);
    let mut client = server.client();
    client.raw(b"GET /live HTTP/1.1\r\nhost: rebound.example\r\n\r\n").unwrap();
    let refused = client.read().unwrap();
    assert_eq!(
        (refused.code(), refused.header("connection")),
        ((421, "wrong_host".to_owned()), Some("close"))
    );
    assert!(refused.text().contains("--allowed-hosts"), "{}", refused.text());
    // A proxy may hand another name on.
    let server = Server::start(&tiny(), &["--allowed-hosts", "models.example"]);
    let found = ["models.example:80", "Models.Example", "localhost", "other.example"];
    assert_eq!(found.map(|host| ask_as(&server, Some(host))), [200, 200, 200, 421]);
    let server = Server::start(&tiny(), &["--allowed-hosts", "*"]);
    assert_eq!(ask_as(&server, Some("rebound.example")), 200);
}

/// A head that a proxy may read in another way is refused, and what follows it is no request.
#[test]
fn a_head_has_one_reading() {
    let server = Server::start(&tiny(), &[]);
    let hidden = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (headers, message) in [
        ("host: localhost\r\nhost: rebound.example\r\n", "more than one host"),
        // The chunks count, as they must, and the connection ends with the answer.
        ("host: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n", "the body is empty"),
        ("host: localhost\r\ncontent-length: 4\r\ncontent-length: 5\r\n", ""),
        ("host: localhost\r\ntransfer-encoding: chunked, gzip\r\n", ""),
        ("host: localhost\r\ncontent-length: +4\r\n", ""),
        ("host: localhost\r\ncontent-length : 4\r\n", ""),
        (" host: localhost\r\n", ""),
    ] {
        let mut client = server.client();
        let head = format!("POST {} HTTP/1.1\r\n{headers}\r\n0\r\n\r\n{hidden}", GOOD.0);
        client.raw(head.as_bytes()).unwrap();
        let refused = client.read().unwrap();
        assert_eq!(refused.status, 400, "{headers:?}");
        assert!(refused.text().contains(message), "{headers:?}: {}", refused.text());
        assert!(client.read().is_err(), "{headers:?}: something was answered after it");
    }
}

/// The second address is one of this machine too.
#[test]
fn the_address_for_health_has_the_same_names_and_says_not_ready_at_first() {
    let server = Server::start_unloaded(&tiny(), &["--health-listen", "127.0.0.1:0"]);
    let address = server.running.health_address().unwrap().to_owned();
    assert_ne!(address, server.running.address());
    let get = |path: &str, host: &str| {
        let mut client = Client::new(&address);
        client.raw(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).unwrap();
        client.read().unwrap()
    };
    assert_eq!([get("/live", "localhost").status, get("/ready", "localhost").status], [200, 503]);
    server.running.load().unwrap();
    assert_eq!([get("/live", "localhost").status, get("/ready", "localhost").status], [200, 200]);
    assert!(get("/metrics", "localhost").text().contains("mb_ready 1\n"));
    assert_eq!(get("/metrics", "rebound.example").status, 421);
    for path in ["/", "/v1/models", "/openapi.json", "/v2/health/ready"] {
        let status = get(path, "localhost").status;
        assert_eq!(status, if path == "/v2/health/ready" { 200 } else { 404 }, "{path}");
    }
    // A key opens nothing here, so it does not let other names in either.
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::write(&keys, "first-key-of-some-length\n").unwrap();
    let flags = ["--health-listen", "127.0.0.1:0", "--api-key-file", keys.to_str().unwrap()];
    let server = Server::start(&tiny(), &flags);
    assert_eq!(ask_as(&server, Some("rebound.example")), 401);
    let mut client = Client::new(server.running.health_address().unwrap());
    client.raw(b"GET /metrics HTTP/1.1\r\nhost: rebound.example\r\n\r\n").unwrap();
    assert_eq!(client.read().unwrap().status, 421);
    // Where everyone may come, probes call the server by its address, whatever names it has.
    let flags = ["--health-listen", "0.0.0.0:0", "--allowed-hosts", "models.example"];
    let server = Server::start(&tiny(), &flags);
    let port = server.running.health_address().unwrap().rsplit(':').next().unwrap().to_owned();
    let mut client = Client::new(&format!("127.0.0.1:{port}"));
    client.raw(b"GET /ready HTTP/1.1\r\nhost: 10.1.2.3:9\r\n\r\n").unwrap();
    assert_eq!(client.read().unwrap().status, 200);
}

#[test]
fn pages_of_other_origins_are_let_in_by_name_only() {
    let page = "https://page.example";
    let ask = |server: &Server, origin: &str| {
        server.client().send("POST", GOOD.0, &[JSON, ("origin", origin)], GOOD.1.as_bytes()).unwrap()
    };
    let preflight = |server: &Server, origin: &str, path: &str| {
        let asks = ("access-control-request-method", "POST");
        let headers =
            [("origin", origin), asks, ("access-control-request-headers", "x-api-key, x-stainless-os")];
        server.client().send("OPTIONS", path, &headers, b"").unwrap()
    };
    let shut = Server::start(&tiny(), &[]);
    assert_eq!(ask(&shut, page).header("access-control-allow-origin"), None);
    assert_eq!(preflight(&shut, page, GOOD.0).status, 405);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    fs::write(&keys, "first-key-of-some-length\n").unwrap();
    let flags = ["--cors-origin", page, "--cors-origin", "http://localhost:3000"];
    let open = Server::start(&tiny(), &[&flags[..], &["--api-key-file", keys.to_str().unwrap()]].concat());
    // A browser asks first, without a key.
    let allowed = preflight(&open, page, GOOD.0);
    assert_eq!((allowed.status, allowed.body.len()), (204, 0));
    assert_eq!(allowed.header("access-control-allow-origin"), Some(page));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("x-api-key, x-stainless-os"));
    assert_eq!(preflight(&open, "https://other.example", GOOD.0).header("access-control-allow-origin"), None);
    assert_eq!(preflight(&open, page, "/nothing").status, 404);
    // The answer may be read, also one without a result.
    let refused = ask(&open, page);
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(page)));
    assert_eq!(refused.header("vary"), Some("origin"));
    assert_eq!(ask(&open, "https://other.example").header("access-control-allow-origin"), None);
    let any = Server::start(&tiny(), &["--cors-origin", "*"]);
    assert_eq!(ask(&any, page).header("access-control-allow-origin"), Some("*"));
    assert_eq!(ask(&any, page).status, 200);
}

#[test]
fn administrators_load_and_unload_models() {
    let closed = Server::start(&tiny(), &[]);
    assert_eq!(closed.post("/v2/repository/index", "").status, 404);
    assert_eq!(closed.get("/v2").ok()["extensions"], json!(["binary_tensor_data"]));
    let folder = tempfile::tempdir().unwrap();
    let (keys, admins) = (folder.path().join("keys"), folder.path().join("admins"));
    fs::write(&keys, "first-key-of-some-length\n").unwrap();
    fs::write(&admins, "admin-key-of-some-length\n").unwrap();
    let model = folder.path().join("model");
    copy("tests/golden/checkpoints/bert-f32", &model);
    let models = [tiny(), vec![format!("m={}", model.display())]].concat();
    let flags = ["--api-key-file", keys.to_str().unwrap(), "--admin-key-file", admins.to_str().unwrap()];
    let server = Server::start(&models, &flags);
    let ask = |key: &'static str, path: &str, body: &str| {
        server.client().send("POST", path, &[JSON, ("x-api-key", key)], body.as_bytes()).unwrap()
    };
    let (user, admin) = ("first-key-of-some-length", "admin-key-of-some-length");
    for path in ["index", "models/m/load", "models/m/unload"] {
        let path = format!("/v2/repository/{path}");
        assert_eq!([ask(user, &path, "").status, ask("none", &path, "").status], [401, 401], "{path}");
    }
    // An administrator's key is for the repository only.
    assert_eq!(ask(admin, "/api/v1/m/classify", GOOD.1).status, 401);
    let classify = || ask(user, "/api/v1/m/classify", GOOD.1).status;
    let state = || {
        let index = ask(admin, "/v2/repository/index", "").ok();
        let of_m = index.as_array().unwrap().iter().find(|model| model["name"] == "m").unwrap().clone();
        (of_m["state"].as_str().unwrap().to_owned(), of_m["reason"].as_str().unwrap().to_owned())
    };
    let change = |what: &str, body: &str| {
        let answer = ask(admin, &format!("/v2/repository/models/m/{what}"), body);
        (answer.status, answer.text().to_owned())
    };
    assert_eq!((classify(), state().0.as_str()), (200, "READY"));
    // This is what Triton's client sends.
    assert_eq!(change("unload", r#"{"parameters":{"unload_dependents":false}}"#).0, 200);
    assert_eq!((classify(), state()), (404, ("UNAVAILABLE".to_owned(), "unloaded".to_owned())));
    let ready = ask(admin, "/v2/repository/index", r#"{"ready":true}"#).ok();
    assert_eq!(ready.as_array().unwrap().len(), 4);
    // Loading what is broken says why, and loading what is whole serves it.
    fs::rename(model.join("config.json"), model.join("away.json")).unwrap();
    let (status, problem) = change("load", "{}");
    assert!(status == 400 && problem.contains("model `m`: "), "{status} {problem}");
    assert!(state().1.contains("model `m`: "), "{:?}", state());
    fs::rename(model.join("away.json"), model.join("config.json")).unwrap();
    assert_eq!((change("load", "").0, classify(), state().0.as_str()), (200, 200, "READY"));
    // A model that is served stays if it cannot be loaded again.
    fs::rename(model.join("config.json"), model.join("away.json")).unwrap();
    assert_eq!((change("load", "").0, classify(), state().0.as_str()), (400, 200, "READY"));
    fs::rename(model.join("away.json"), model.join("config.json")).unwrap();
    // Sources come from the settings.
    assert_eq!(change("load", r#"{"parameters":{"config":"{}"}}"#).0, 400);
    assert_eq!(change("load", "[").0, 400);
    assert_eq!(ask(admin, "/v2/repository/models/other/load", "").status, 404);
    assert_eq!(ask(admin, "/v2/repository/models/other/unload", "").status, 404);
    // The order is that of the settings, whatever was loaded last, because the first of a task is its
    // default.
    assert_eq!(ask(admin, "/v2/repository/models/tiny-qa/load", "").status, 200);
    let listed = server.client().send("GET", "/api/v1/models", &[("x-api-key", user)], b"").unwrap().ok();
    let names: Vec<&str> =
        listed["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny-qa", "tiny-classify", "tiny-ner", "tiny-mlm", "m"]);
    // Many changes at a time wait for their turn, and hold up nobody.
    let ask_admin = &ask;
    std::thread::scope(|scope| {
        let changes: Vec<_> = (0..12)
            .map(|i| scope.spawn(move || ask_admin(admin, if i % 3 == 0 { UNLOAD } else { LOAD }, "").status))
            .collect();
        let long = json!({"inputs": "a good film ".repeat(1000)}).to_string();
        assert_eq!(ask(user, "/api/v1/tiny-classify/classify", &long).status, 200);
        assert_eq!(server.get("/live").status, 200);
        changes.into_iter().for_each(|change| assert_eq!(change.join().unwrap(), 200));
    });
    // A file of keys that cannot be used keeps no administrator.
    fs::write(&keys, "short\n").unwrap();
    fs::write(&admins, "third-admin-of-some-length\n").unwrap();
    assert!(!server.running.reload());
    assert_eq!(ask(admin, "/v2/repository/index", "").status, 401);
    fs::write(&keys, "first-key-of-some-length\n").unwrap();
    // Administrators are read again too.
    fs::write(&admins, "other-admin-of-some-length\n").unwrap();
    assert!(server.running.reload());
    assert_eq!(ask(admin, "/v2/repository/index", "").status, 401);
    assert_eq!(ask("other-admin-of-some-length", "/v2/repository/index", "").status, 200);
}

/// What a model computes for a fixed sequence is known by a hash, which its folder may demand.
#[test]
fn a_model_is_checked_by_what_it_computes() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy("tests/golden/checkpoints/bert-f32", &model);
    let models = [format!("m={}", model.display())];
    let server = Server::start(&models, &[]);
    let hash = || server.get("/api/v1/models").ok()["models"][0]["self_check"].as_str().unwrap().to_owned();
    let first = hash();
    assert!(first.len() == 64 && server.running.reload() && hash() == first, "{first}");
    let demand = |hash: &str| {
        fs::write(model.join("self-check.json"), json!({"logits_sha256": hash}).to_string()).unwrap();
        server.running.reload()
    };
    assert!(demand(&first) && !demand(&"0".repeat(64)));
    assert!(server.log.text().contains("this machine computes wrongly"), "{}", server.log.text());
    // The models stay as they were, and a server does not start with others.
    assert_eq!(server.post("/api/v1/m/classify", GOOD.1).status, 200);
    let problem = Server::start_unloaded(&models, &[]).running.load().unwrap_err();
    assert!(problem.contains("model `m`: ") && problem.contains("self-check.json"), "{problem}");
    // Other weights have another hash.
    copy("tests/golden/checkpoints/distilbert-f32", &model);
    fs::remove_file(model.join("self-check.json")).unwrap();
    assert!(server.running.reload());
    assert_ne!(hash(), first);
}

/// A key that was revoked is refused although the models of the same reload cannot be loaded.
#[test]
fn a_revoked_key_is_refused_beside_a_broken_model() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, model) = (folder.path().join("keys"), folder.path().join("model"));
    fs::write(&keys, "first-key-of-some-length\nsecond-key-of-some-length\n").unwrap();
    copy("tests/golden/checkpoints/bert-f32", &model);
    let server = Server::start(
        &[format!("tiny-classify={}", model.display())],
        &["--api-key-file", keys.to_str().unwrap()],
    );
    let with = |key: &str| {
        server.client().send("POST", GOOD.0, &[JSON, ("x-api-key", key)], GOOD.1.as_bytes()).unwrap().status
    };
    assert_eq!([with("first-key-of-some-length"), with("second-key-of-some-length")], [200, 200]);
    fs::write(&keys, "second-key-of-some-length\n").unwrap();
    fs::remove_dir_all(&model).unwrap();
    assert!(!server.running.reload());
    assert_eq!([with("first-key-of-some-length"), with("second-key-of-some-length")], [401, 200]);
}

/// A short body with one long query for many texts would become a lot of text.
#[test]
fn a_query_for_many_texts_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy("tests/golden/checkpoints/bert-f32", &model);
    keep_one_label(&model);
    let server = Server::start(&[format!("rank={}", model.display())], &["--max-body-bytes", "2000"]);
    let rank = |query: usize, texts: usize| {
        let body = json!({"query": "a".repeat(query), "texts": vec!["b"; texts]}).to_string();
        assert!(body.len() <= 2000, "{}", body.len());
        server.post("/rerank", &body)
    };
    let ranks = rank(5, 3).ok();
    assert_eq!(ranks.as_array().unwrap().len(), 3);
    assert_eq!(ranks[0]["index"], 0, "equal scores stay in their order");
    // 100 times 320 bytes are 16 bodies of 2000 bytes, and nothing is left away for one more.
    assert_eq!(rank(320, 100).status, 200);
    let refused = rank(321, 100);
    assert_eq!((refused.status, &refused.json()["error_type"]), (413, &json!("Validation")));
    assert!(refused.text().contains("shorten the query"), "{}", refused.text());
    let with_text = server.post("/rerank", r#"{"query":"a","texts":["b","c"],"return_text":true}"#).ok();
    assert!(with_text[0]["text"].is_string(), "{with_text}");
}

/// Cuts the head of a classifier to its first label.
fn keep_one_label(model: &Path) {
    let file = model.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (head, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let head: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(head).unwrap();
    let (mut cut, mut kept) = (serde_json::Map::new(), Vec::new());
    for (name, mut tensor) in head {
        if name != "__metadata__" {
            let [start, end] = [0, 1].map(|i| tensor["data_offsets"][i].as_u64().unwrap() as usize);
            let mut part = &data[start..end];
            if name.starts_with("classifier.") {
                let labels = tensor["shape"][0].as_u64().unwrap() as usize;
                part = &part[..part.len() / labels];
                tensor["shape"][0] = 1.into();
            }
            tensor["data_offsets"] = json!([kept.len(), kept.len() + part.len()]);
            kept.extend_from_slice(part);
        }
        cut.insert(name, tensor);
    }
    let head = serde_json::to_vec(&cut).unwrap();
    fs::write(file, [&(head.len() as u64).to_le_bytes()[..], &head, &kept].concat()).unwrap();
    let file = model.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["id2label"] = json!({"0": "relevant"});
    config["label2id"] = json!({"relevant": 0});
    fs::write(file, config.to_string()).unwrap();
}

/// The names that dashboards of text-embeddings-inference read count its routes only.
#[test]
fn the_metrics_of_tei_are_there() {
    let server = Server::start(&[tiny(), vec![format!("embed={}", root("models/embed"))]].concat(), &[]);
    server.post(GOOD.0, GOOD.1).ok();
    server.post("/embed", r#"{"inputs":"a b c"}"#).ok();
    server.post("/embed", r#"{"inputs":["a","b"]}"#).ok();
    assert_eq!(server.post("/embed", r#"{"inputs":7}"#).status, 422);
    server.get("/health");
    let metrics = server.get("/metrics").text().to_owned();
    for line in [
        "te_request_count{method=\"batch\"} 1\n",
        "te_request_count{method=\"single\"} 2\n",
        "te_request_success{method=\"single\"} 1\n",
        "te_request_failure{err=\"validation\"} 1\n",
        "te_request_duration_count 2\n",
        "te_request_tokenization_duration_count 2\n",
        "te_request_queue_duration_count 2\n",
        "te_request_inference_duration_count 2\n",
        // Three words and two marks, and twice one word and two marks.
        "te_request_input_length_sum 11\nte_request_input_length_count 3\n",
        "te_queue_size 0\n",
        "te_batch_next_size_count ",
        "te_batch_next_tokens_sum ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let without = Server::start(&tiny(), &["--dialects", "native"]);
    assert!(!without.get("/metrics").text().contains("\nte_"));
}
