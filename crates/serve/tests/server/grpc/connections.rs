//! Health, connections that do nothing, and calls that nobody waits for.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use prost::Message as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::inference::ServerReadyRequest;
use super::raw::{self, DATA, END_HEADERS, END_STREAM, HEADERS, INFER, frame};
use super::{Client, channel, client, good, refused, request, runtime, start, texts};
use crate::support::{Random, Server, count, tiny, wait_until};

#[test]
fn health_is_told_while_models_load_and_while_the_server_stops() {
    let server =
        Server::start_unloaded(&tiny(), &["--grpc-listen", "127.0.0.1:0", "--drain-delay-ms", "300"]);
    let runtime = runtime();
    let (mut watched, mut calls) = runtime.block_on(async {
        let channel = channel(&server).await;
        let mut health = HealthClient::new(channel.clone());
        let mut client = Client::new(channel.clone());
        let check = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let not_yet = health.check(check("")).await.unwrap().into_inner().status();
        assert_eq!(not_yet, ServingStatus::NotServing);
        assert!(!client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
        assert_eq!(refused(client.model_infer(good()).await), (Code::Unavailable, "unavailable".to_owned()));
        let mut watched = health.watch(check("tiny-qa")).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        server.running.load().unwrap();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        for service in ["", "inference.GRPCInferenceService", "tiny-ner"] {
            let found = health.check(check(service)).await.unwrap().into_inner().status();
            assert_eq!(found, ServingStatus::Serving, "{service}");
        }
        assert_eq!(health.check(check("nobody")).await.unwrap_err().code(), Code::NotFound);
        let calls: Vec<_> = (0..20)
            .map(|i| {
                let mut client = client.clone();
                let request = request("tiny-classify", vec![texts("text", &[&format!("a {i}")])]);
                tokio::spawn(async move { client.model_infer(request).await })
            })
            .collect();
        (watched, calls)
    });
    assert!(server.running.drain(), "all that was accepted was answered");
    runtime.block_on(async {
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        assert!(watched.message().await.unwrap().is_none(), "the server says that it ends");
        for call in calls.drain(..) {
            call.await.unwrap().unwrap();
        }
    });
}

/// Connections that say nothing are closed, and so are those whose client does not take its answers.
#[test]
fn connections_that_do_nothing_are_closed() {
    let server =
        start(&["--header-timeout-ms", "300", "--body-timeout-ms", "500", "--idle-timeout-ms", "400"]);
    let open = || raw::open(&server);
    let closes = |mut stream: std::net::TcpStream| {
        let mut rest = Vec::new();
        assert!(
            !matches!(stream.read_to_end(&mut rest), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        );
    };
    closes(open());
    // The beginning of HTTP/2, and then nothing.
    let mut begun = open();
    begun.write_all(&raw::hello(&[])).unwrap();
    closes(begun);
    // HTTP/1.1 is another protocol.
    let mut other = open();
    other.write_all(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    closes(other);
    // A request whose body does not come.
    let mut slow = open();
    let head = frame(HEADERS, END_HEADERS, 1, &raw::call(INFER));
    slow.write_all(&[raw::hello(&[]), head.clone()].concat()).unwrap();
    closes(slow);
    let metrics = server.get("/metrics").text().to_owned();
    let line = "task=\"infer\",dialect=\"grpc\",code=\"408\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    // One that lets no byte of its answer come: its window has no room, as its first settings say.
    let mut deaf = open();
    let message = good().encode_to_vec();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let begin = [raw::hello(&[raw::window(0)]), head, frame(DATA, END_STREAM, 1, &body)].concat();
    deaf.write_all(&begin).unwrap();
    closes(deaf);
    wait_until("all connections are closed", || {
        server.get("/metrics").text().contains("\nmb_connections 1\n")
    });
}

/// Clients that vanish leave nothing behind.
#[test]
fn calls_that_are_given_up_leave_nothing_behind() {
    let server = start(&["--threads", "1"]);
    let runtime = runtime();
    let given_up = count("DISCONNECTS", 200);
    runtime.block_on(async {
        let client = client(&server).await;
        let mut random = Random(7);
        for i in 0..given_up {
            let mut client = client.clone();
            let request =
                request("embed", vec![texts("text", &[&format!("a long text about {i} ").repeat(20)])]);
            let call = tokio::spawn(async move { client.model_infer(request).await });
            tokio::time::sleep(Duration::from_micros(random.below(2000) as u64)).await;
            call.abort();
        }
    });
    drop(runtime);
    eprintln!("{given_up} calls of gRPC given up");
    wait_until("nothing waits", || {
        let metrics = server.get("/metrics").text().to_owned();
        ["mb_queue_requests 0", "mb_queue_tokens 0", "mb_body_bytes 0", "mb_connections 1"]
            .iter()
            .all(|line| metrics.contains(&format!("\n{line}\n")))
    });
}
