//! `mobilebert-eval latency --url`, against the real server and against servers whose speed is known.
//!
//! The machine may be busy, so no test asks for a speed: a server that sleeps is never faster than its sleep.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mobilebert_serve::{Config, Running};
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-eval"));
    command.current_dir(root()).arg("latency").args(arguments).output().unwrap()
}

/// Does the same ahead of all other programs, where the system allows it. A generator beside the server would
/// send late while all processors run passes, as one on a machine of its own does not.
fn run_ahead(arguments: &[&str]) -> Output {
    let ahead = ["-f", "1"];
    if !Command::new("chrt").args(ahead).arg("true").output().is_ok_and(|output| output.status.success()) {
        return run(arguments);
    }
    let mut command = Command::new("chrt");
    command.args(ahead).arg(env!("CARGO_BIN_EXE_mobilebert-eval")).arg("latency").args(arguments);
    command.current_dir(root()).output().unwrap()
}

fn json(arguments: &[&str]) -> Value {
    read(arguments, run(arguments))
}

fn read(arguments: &[&str], output: Output) -> Value {
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A number to quote, or the reason why there is none.
    assert!(found["headline"].is_string() != found["refused"].is_string(), "{found}");
    found
}

/// Returns the run of that name, of which there is one.
fn of<'f>(found: &'f Value, name: &str) -> &'f Value {
    let mut rows = found["runs"].as_array().unwrap().iter().filter(|row| row["name"] == name);
    let row = rows.next().unwrap_or_else(|| panic!("no run {name}: {found}"));
    assert!(rows.next().is_none(), "{found}");
    row
}

/// Measures again if the machine stood still so long that requests were given up.
fn all_answered(measure: impl Fn() -> Value) -> Value {
    let mut found = measure();
    for _ in 0..4 {
        let row = of(&found, "given");
        if row["answered"] == row["requests"] {
            break;
        }
        found = measure();
    }
    found
}

/// A server that answers one request after the other with the status that `answer` returns for the numbers of
/// its connection and of the request, and closes the connection if that says so.
fn stub(answer: impl Fn(usize, usize) -> (u16, bool) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answer, one, number) = (Arc::new(answer), Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
    std::thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let (answer, one, number) = (Arc::clone(&answer), Arc::clone(&one), Arc::clone(&number));
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                while let Some(()) = request(&mut stream) {
                    let _one = one.lock().unwrap();
                    let (status, closes) = answer(connection, number.fetch_add(1, Ordering::AcqRel));
                    let text = match closes {
                        true => "connection: close\r\ncontent-length: 2\r\n\r\n{}",
                        false => "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                    };
                    let text = format!("HTTP/1.1 {status} x\r\n{text}");
                    if stream.get_mut().write_all(text.as_bytes()).is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}/x")
}

fn request(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()
}

const DATA: [&str; 4] = ["--task", "sst2", "--data", "eval/samples/sst2.tsv"];

#[test]
fn the_real_server_is_measured() {
    let model = root().join("tests/golden/checkpoints/bert-f32");
    let arguments =
        ["mobilebert-serve", "--listen", "127.0.0.1:0", "--model", &format!("m={}", model.display())];
    let config = Config::from_args(arguments.map(OsString::from)).unwrap();
    let server = Running::start(config, Box::new(std::io::sink())).unwrap();
    server.load().unwrap();
    let url = format!("http://{}/api/v1/m/classify", server.address());
    let pid = std::process::id().to_string();
    let flags = ["--url", &url, "--qps", "200", "--duration", "2", "--server-pid", &pid, "--json"];
    // A machine that stands still for seconds may let a request be given up.
    let found = all_answered(|| json(&[&flags[..], &DATA].concat()));
    let row = of(&found, "given");
    // 2 seconds are 400 requests, and a claim takes more.
    assert_eq!((row["requests"].as_u64(), row["answered"].as_u64()), (Some(1000), Some(1000)), "{found}");
    assert_eq!((row["refused"].as_u64(), row["failed"].as_u64()), (Some(0), Some(0)));
    let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
    assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"));
    assert!(number("p99_ms") <= number("claimed_ms") && number("claimed_ms") <= number("max_ms"));
    if cfg!(target_os = "linux") {
        assert!(number("generator_share") > 0.0 && number("server_share") > 0.0, "{found}");
        assert!(found["server_peak_mb"].as_f64().unwrap() > 1.0);
    }
    let alone = of(&found, "alone")["requests"].as_u64().unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let counted = metrics.lines().find_map(|line| line.split("dialect=\"native\",code=\"200\"} ").nth(1));
    assert!(counted.unwrap().parse::<u64>().unwrap() >= alone + 1000, "{metrics}");
    // The texts arrive as they are in the file.
    let body = r#"{"inputs":[{text}],"top_k":{text}}"#;
    let wrong = run(&[&["--url", &url, "--qps", "10", "--body", body], &DATA[..]].concat());
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("answered with 400"), "{wrong:?}");
    assert_eq!(wrong.status.code(), Some(1));
    let text = run(&[&flags[..flags.len() - 1], &DATA].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("given ") && text.contains("first "), "{text}");
    drop(stream);
    assert!(server.drain());
}

/// A server that stalls is charged for all requests that were due meanwhile, not for the one that it
/// answered.
#[test]
fn a_stall_is_charged_to_all_that_were_due() {
    let stall = Duration::from_secs(1);
    let found = all_answered(|| {
        // The first connection is that of the requests which are sent alone.
        let asked = AtomicUsize::new(0);
        let url = stub(move |connection, _| {
            if connection > 0 && asked.fetch_add(1, Ordering::AcqRel) == 100 {
                std::thread::sleep(stall);
            }
            (200, false)
        });
        json(&["--url", &url, "--body", "{}", "--qps", "200", "--duration", "4", "--json"])
    });
    let row = of(&found, "given");
    assert_eq!(row["answered"].as_u64(), Some(1000), "{found}");
    assert!(found["refused"].as_str().unwrap().contains("1 different requests"), "{found}");
    // A fifth of the requests were due in that second, half of them in its first half.
    assert!(row["p90_ms"].as_f64().unwrap() > 300.0 && row["p99_ms"].as_f64().unwrap() > 700.0, "{found}");
}

#[test]
fn refusals_errors_and_closed_connections_are_told_apart() {
    // The requests that are sent alone are at most a thousand, and have to be answered.
    let url = stub(|_, number| match number {
        ..1000 => (200, number % 3 == 0),
        number if number % 10 == 0 => (429, number % 3 == 0),
        number if number % 10 == 1 => (500, false),
        _ => (200, number % 3 == 0),
    });
    let flags =
        ["--url", &url, "--body", "{}", "--qps", "200", "--duration", "1", "--connections", "4", "--json"];
    let found = json(&flags);
    let row = of(&found, "given");
    let count = |name: &str| row[name].as_u64().unwrap();
    assert_eq!(count("answered") + count("refused") + count("failed"), 1000, "{found}");
    assert!((1..=100).contains(&count("refused")) && (1..=100).contains(&count("failed")), "{found}");
    assert!(found["refused"].is_string(), "{found}");
}

/// The rate that is found is one that the server can keep.
#[test]
fn the_highest_rate_is_below_what_a_server_can_do() {
    let pause = Duration::from_millis(1);
    let url = stub(move |_, _| {
        std::thread::sleep(pause);
        (200, false)
    });
    let start = Instant::now();
    let flags = ["--url", &url, "--body", "{}", "--p99-ms", "30", "--duration", "1", "--json"];
    let found = json(&flags);
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
    let most = 1.0 / pause.as_secs_f64();
    // A busy machine may allow no rate at all, but none allows more than the sleep does.
    if let Some(rate) = found["highest_qps"].as_f64() {
        assert!(rate < 1.1 * most, "{found}");
        let [half, twice] = ["half", "twice"].map(|name| of(&found, name)["rate"].as_f64().unwrap());
        assert!((half - rate / 2.0).abs() < 1e-6 && (twice - rate * 2.0).abs() < 1e-6, "{found}");
        let mut highest = found["runs"].as_array().unwrap().iter().filter(|row| row["name"] == "highest");
        assert_eq!(highest.next_back().unwrap()["met"], true, "{found}");
    } else {
        assert!(found["refused"].is_string(), "{found}");
    }
    let above =
        found["runs"].as_array().unwrap().iter().filter(|row| row["rate"].as_f64() > Some(1.1 * most));
    assert!(above.clone().all(|row| row["met"] != true), "{found}");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let url = ["--url", "http://127.0.0.1:9/x"];
    for (more, expected) in [
        (vec!["--qps", "1"], "--data, or --body"),
        (vec!["--body", "{}"], "--qps"),
        (vec!["--body", "{", "--qps", "1"], "no JSON"),
        (vec!["--qps", "1", "--p99-ms", "1", "--body", "{}"], "cannot be used with"),
        (vec!["--qps", "1", "--model", "qa", "--body", "{}"], "cannot be used with"),
        (vec!["--qps", "1", "--threads", "2", "--body", "{}"], "cannot be used with"),
        (vec!["--qps", "1", "--report", "x.md", "--body", "{}"], "cannot be used with"),
        (vec!["--qps", "1", "--header", "x", "--body", "{}"], "NAME: VALUE"),
        (vec!["--qps", "1000", "--duration", "86400", "--body", "{}"], "more than"),
        ([&["--qps", "1", "--body", "{}"], &DATA[..]].concat(), "has no place"),
    ] {
        let output = run(&[&url[..], &more].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && message.contains(expected), "{more:?}: {message}");
    }
    let nobody = run(&[&url[..], &["--qps", "1", "--body", "{}"]].concat());
    let message = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(1) && message.contains("http://127.0.0.1:9/x: "), "{message}");
    let neither = run(&["--qps", "1"]);
    assert!(neither.status.code() == Some(2), "{neither:?}");
}

/// Under a load of four fifths of the highest rate, 99 % take at most three times as long as alone. At twice
/// the rate as much is answered in time as before, and the rest is refused at once: each request says that it
/// is of no use after the bound. It takes a quiet machine some minutes:
/// `cargo test -p mobilebert-eval --test load promises -- --ignored --nocapture`
#[test]
#[ignore = "asks for a quiet machine, and takes minutes"]
fn the_promises_of_the_server_under_load() {
    let folder =
        std::env::var_os("MOBILEBERT_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let data = folder.join("glue/sst2/dev.tsv");
    if !data.is_file() {
        eprintln!(
            "SKIPPED: the sentences of SST-2 are not there; equal ones in flight would be computed once"
        );
        return;
    }
    let model = root().join("models/sentiment");
    let arguments =
        ["mobilebert-serve", "--listen", "127.0.0.1:0", "--model", &format!("m={}", model.display())];
    let config = Config::from_args(arguments.map(OsString::from)).unwrap();
    let server = Running::start(config, Box::new(std::io::sink())).unwrap();
    server.load().unwrap();
    let address = server.address().to_owned();
    let url = format!("http://{address}/api/v1/m/classify");
    let seconds = std::env::var("SECONDS_EACH").unwrap_or("20".to_owned());
    // The server is in this process, so what others take of the machine is known.
    let pid = std::process::id().to_string();
    let flags = ["--url", &url, "--p99-ms", "50", "--duration", &seconds, "--server-pid", &pid, "--json"];
    let deadline = ["--header", "x-deadline-ms: 50", "--task", "sst2", "--data", data.to_str().unwrap()];
    let arguments = [&flags[..], &deadline].concat();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (found, live) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Acquire) {
                let asked = Instant::now();
                let mut stream = TcpStream::connect(&address).unwrap();
                stream
                    .write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    .unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                longest = longest.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            longest
        });
        let found = read(&arguments, run_ahead(&arguments));
        done.store(true, Ordering::Release);
        (found, watch.join().unwrap())
    });
    eprintln!("{}", serde_json::to_string_pretty(&found).unwrap());
    let rate = found["highest_qps"].as_f64().expect("some rate holds");
    let number = |run: &str, name: &str| of(&found, run)[name].as_f64().unwrap_or(0.0);
    let (alone, busy) = (number("alone", "p50_ms"), number("80 %", "p99_ms"));
    let (answered, refused) = (number("twice", "answered_per_second"), number("twice", "refused_p99_ms"));
    eprintln!(
        "highest {rate:.0}/s; 99 % at 80 %: {busy:.1} ms, alone {alone:.1} ms ({:.1} times)",
        busy / alone
    );
    eprintln!(
        "at twice: {answered:.0}/s answered in time, {} refused within {refused:.1} ms, {} late, live within {live:?}",
        number("twice", "refused"),
        number("twice", "failed")
    );
    // Where other programs disturbed a run, its times say nothing about the promises.
    let disturbed = found["refused"].as_str();
    assert!(disturbed.is_none(), "nothing was measured: {}", disturbed.unwrap_or_default());
    let broken = [
        (busy > 3.0 * alone).then(|| format!("{busy} ms are more than three times {alone} ms")),
        (answered < 0.95 * rate).then(|| format!("{answered} of {rate} are answered at twice the rate")),
        // Without any the bound on them says nothing.
        (number("twice", "refused") < 1.0).then(|| "nothing is refused at twice the rate".to_owned()),
        (refused > 20.0).then(|| format!("{refused} ms to a refusal")),
        (live > Duration::from_millis(100)).then(|| format!("{live:?} to live")),
    ];
    let broken: Vec<String> = broken.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{}", broken.join("; "));
}
