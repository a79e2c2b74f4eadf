//! What anyone may ask for without a key takes nothing from those who have one.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::raw::{self, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use super::{channel, refused, runtime, start};
use crate::support::{Client, Server, wait_until};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// Its message has a limit of its own, and takes no memory that others may have.
#[test]
fn messages_without_a_key_are_short() {
    let server = start(&["--body-memory-bytes", "2000000"]);
    runtime().block_on(async {
        let mut health = HealthClient::new(channel(&server).await);
        let watched = health.watch(asked(&"x".repeat(1000))).await.unwrap().into_inner();
        assert!(server.get("/metrics").text().contains("\nmb_body_bytes 0\n"));
        let long = asked(&"x".repeat(1100));
        let too_large = (Code::InvalidArgument, "too_large".to_owned());
        assert_eq!(refused(health.watch(long.clone()).await), too_large);
        assert_eq!(refused(health.check(long.clone()).await), too_large);
        use tonic::codec::CompressionEncoding::Gzip;
        let mut packed = HealthClient::new(channel(&server).await).send_compressed(Gzip);
        assert_eq!(refused(packed.check(long).await), too_large);
        assert!(packed.check(asked("")).await.is_ok());
        let mut sender = raw::connect(&server, 65_535, 65_535).await;
        for method in ["ServerLive", "ServerReady"] {
            let path = format!("/inference.GRPCInferenceService/{method}");
            let response = sender.send_request(raw::post(&path, &[0x0a; 1100])).await.unwrap();
            assert_eq!(raw::head(&response), ("3".to_owned(), "too_large".to_owned()), "{method}");
        }
        drop(watched);
    });
}

/// What is wrong with a message has the same name on the wire, in the log and in the metrics.
#[test]
fn refusals_have_one_name() {
    let server = start(&[]);
    runtime().block_on(async {
        let mut sender = raw::connect(&server, 65_535, 65_535).await;
        // A name that is not UTF-8.
        let response = sender.send_request(raw::post(raw::INFER, b"\x0a\x01\xff")).await.unwrap();
        assert_eq!(raw::head(&response), ("3".to_owned(), "malformed".to_owned()));
        let response = sender.send_request(raw::post(CHECK, b"\x0a\x01\xff")).await.unwrap();
        assert_eq!(raw::head(&response), ("3".to_owned(), "malformed".to_owned()));
        let response = sender.send_request(raw::post(CHECK, b"\x0a\x06nobody")).await.unwrap();
        assert_eq!(raw::head(&response), ("5".to_owned(), "unknown_service".to_owned()));
    });
    for line in ["ModelInfer 400 malformed", "Check 400 malformed", "Check 404 unknown_service"] {
        wait_until(line, || server.log.text().contains(line));
    }
    let metrics = server.get("/metrics").text().to_owned();
    assert!(metrics.contains("task=\"health\",dialect=\"grpc\",code=\"404\"} 1"), "{metrics}");
}

#[test]
fn watchers_are_few() {
    let server = start(&[]);
    runtime().block_on(async {
        let mut health =
            [HealthClient::new(channel(&server).await), HealthClient::new(channel(&server).await)];
        let mut watched = Vec::new();
        for i in 0..128 {
            watched.push(health[i % 2].watch(asked("")).await.unwrap().into_inner());
        }
        let refusal = refused(health[0].watch(asked("")).await);
        assert_eq!(refusal, (Code::ResourceExhausted, "overloaded".to_owned()));
        assert!(health[0].check(asked("")).await.is_ok());
        for one in &mut watched {
            assert_eq!(one.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        }
        watched.clear();
        let start = Instant::now();
        while health[0].watch(asked("")).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// A connection of watchers keeps its place, until somebody else wants it, on whatever address.
#[test]
fn watchers_make_room() {
    let server = start(&["--max-connections", "1", "--idle-timeout-ms", "600000"]);
    runtime().block_on(async {
        let mut watched =
            HealthClient::new(channel(&server).await).watch(asked("")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        let mut http = server.client();
        assert_eq!(http.send("GET", "/live", &[], b"").unwrap().status, 200);
        assert!(!matches!(watched.message().await, Ok(Some(_))));
        // And the other way round.
        let mut health = HealthClient::new(channel(&server).await);
        assert!(health.check(asked("")).await.is_ok());
        assert!(http.read().is_err());
    });
}

/// Resting connections to one address make room for all that come to another one.
#[test]
fn connections_of_all_addresses_share_the_places() {
    let server = start(&["--max-connections", "3", "--idle-timeout-ms", "600000"]);
    runtime().block_on(async {
        let mut kept = Vec::new();
        for _ in 0..3 {
            let mut health = HealthClient::new(channel(&server).await);
            assert!(health.check(asked("")).await.is_ok());
            kept.push(health);
        }
        let begin = Instant::now();
        let mut clients: Vec<Client> = (0..2).map(|_| server.client()).collect();
        for client in &mut clients {
            assert_eq!(client.send("GET", "/live", &[], b"").unwrap().status, 200);
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    });
}

/// A watcher whose window has no room keeps the server from nothing.
#[test]
fn a_watcher_that_takes_nothing_delays_no_stop() {
    let server: Server = start(&["--drain-ms", "20000"]);
    let mut stream = raw::open(&server);
    let begin = [
        raw::hello(&[raw::window(0)]),
        frame(HEADERS, END_HEADERS, 1, &raw::call(WATCH)),
        frame(DATA, END_STREAM, 1, &[0; 5]),
    ]
    .concat();
    stream.write_all(&begin).unwrap();
    let line = "task=\"health\",dialect=\"grpc\",code=\"200\"} 1";
    wait_until("it watches", || server.get("/metrics").text().contains(line));
    let begin = Instant::now();
    assert!(server.running.drain());
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}
