//! Answers that their clients take slowly, or not at all, and calls that nobody waits for.

use std::time::{Duration, Instant};

use prost::Message as _;

use super::raw::{self, INFER};
use super::{client, longs, request, runtime, start, texts};
use crate::support::{Server, wait_until};

/// A request whose answer has 12.6 MB. Its sequences are equal, so they are computed once.
fn big() -> Vec<u8> {
    request("embed", vec![longs("input_ids", &[64, 128], &vec![1000; 64 * 128])]).encode_to_vec()
}

const BIG: usize = 64 * 128 * 384 * 4;

/// A request that takes a thread long.
fn long(texts_of_it: usize) -> super::ModelInferRequest {
    let all: Vec<String> = (0..texts_of_it).map(|i| format!("word {i} ").repeat(40)).collect();
    request("embed", vec![texts("text", &all.iter().map(String::as_str).collect::<Vec<_>>())])
}

fn body_bytes(server: &Server) -> usize {
    let metrics = server.get("/metrics").text().to_owned();
    let line = metrics.lines().find_map(|line| line.strip_prefix("mb_body_bytes ")).unwrap();
    line.parse().unwrap()
}

/// However long a connection may rest, and also when the server stops.
#[test]
fn a_big_answer_is_sent_to_the_end() {
    for stops in [false, true] {
        let server = start(&["--idle-timeout-ms", "300"]);
        let runtime = runtime();
        let (_sender, response) = runtime.block_on(async {
            let mut sender = raw::connect(&server, 65_535, 65_535).await;
            let response = sender.send_request(raw::post(INFER, &big())).await.unwrap();
            (sender, response)
        });
        assert!(body_bytes(&server) >= BIG, "the answer counts until it is taken");
        let begin = Instant::now();
        // At first the client takes longer than a connection may rest in any case.
        let pause = move || Duration::from_millis(if begin.elapsed().as_secs() < 3 { 150 } else { 0 });
        let reader = runtime.spawn(raw::read(response, pause));
        if stops {
            assert!(server.running.drain(), "all that was accepted was answered");
        }
        let (bytes, status) = runtime.block_on(reader).unwrap();
        assert!(bytes > BIG && status.as_deref().is_ok_and(|status| status == "0"), "{bytes} {status:?}");
    }
}

/// What the server has written is the system's, and its client may still be reading when the connection has
/// rested long enough. The frames by which the client makes room meanwhile must not cost it the rest.
#[test]
fn a_client_that_reads_slowly_gets_the_last_bytes_after_the_close() {
    use std::io::{Read as _, Write as _};
    let server = start(&["--idle-timeout-ms", "300"]);
    let mut stream = raw::open(&server);
    let message = big();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    // All windows are so large that only the system's buffers hold the answer back.
    let room = (i32::MAX as u32 - 65_535).to_be_bytes();
    stream.write_all(&raw::hello(&[raw::window(i32::MAX as u32)])).unwrap();
    stream.write_all(&raw::frame(raw::WINDOW_UPDATE, 0, 0, &room)).unwrap();
    stream.write_all(&raw::frame(raw::HEADERS, raw::END_HEADERS, 1, &raw::call(INFER))).unwrap();
    let pieces = body.chunks(16 << 10);
    let last = pieces.len() - 1;
    for (i, piece) in pieces.enumerate() {
        let flags = if i == last { raw::END_STREAM } else { 0 };
        stream.write_all(&raw::frame(raw::DATA, flags, 1, piece)).unwrap();
    }
    // The server has written all that it can, and goes on while the client reads.
    let (mut taken, mut piece) = (0, vec![0; 128 << 10]);
    let ended = loop {
        std::thread::sleep(Duration::from_millis(if taken > BIG / 2 { 60 } else { 2 }));
        match stream.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => taken += read,
            Err(error) => break Err(error),
        }
        // Once the other side is closed, this is an answer to nobody.
        let _ = stream.write_all(&raw::frame(raw::PING, 0, 0, &[7; 8]));
    };
    // With the heads of the frames, and the trailers.
    assert!(taken > BIG && ended.is_ok(), "{taken} of {BIG}: {ended:?}");
    wait_until("the connection is closed", || server.get("/metrics").text().contains("\nmb_connections 1\n"));
}

/// A client that stops to read loses that answer, whose memory is free again, and no other one.
#[test]
fn an_answer_that_is_not_taken_is_given_up_and_no_other() {
    let server = start(&["--body-timeout-ms", "700", "--threads", "1", "--deadline-ms", "300000"]);
    runtime().block_on(async {
        let mut sender = raw::connect(&server, 65_535, 8 << 20).await;
        let left = sender.send_request(raw::post(INFER, &big())).await.unwrap();
        // The first window is full, and most of the answer is still in memory.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(body_bytes(&server) >= BIG);
        let other = sender.send_request(raw::post(INFER, &long(20).encode_to_vec()));
        // The client takes this answer as it comes.
        let other = tokio::spawn(async {
            let response = other.await.unwrap();
            (raw::head(&response), raw::read(response, || Duration::ZERO).await)
        });
        wait_until("its memory is free again", || body_bytes(&server) < BIG / 2);
        let (head, (_, status)) = other.await.unwrap();
        assert_eq!(head, (String::new(), String::new()));
        assert!(status.as_deref().is_ok_and(|status| status == "0"), "{status:?}");
        let (bytes, status) = raw::read(left, || Duration::ZERO).await;
        assert!(bytes < BIG && status.is_err(), "{bytes} {status:?}");
    });
    wait_until("the connection is closed", || server.get("/metrics").text().contains("\nmb_connections 1\n"));
}

/// Requests are counted and have their line also if nobody waits for the answer.
#[test]
fn a_request_whose_client_goes_has_a_line() {
    let server = start(&["--threads", "1"]);
    runtime().block_on(async {
        let mut client = client(&server).await;
        let call = tokio::spawn(async move { client.model_infer(long(500)).await });
        wait_until("it is queued", || server.get("/metrics").text().contains("\nmb_queue_requests 1\n"));
        call.abort();
        let line = "model=\"embed\",task=\"infer\",dialect=\"grpc\",code=\"499\"} 1";
        wait_until("it is counted", || server.get("/metrics").text().contains(line));
        wait_until("it has a line", || server.log.text().contains("ModelInfer 499 gone"));
    });
}
