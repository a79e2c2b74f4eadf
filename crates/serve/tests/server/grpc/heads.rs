//! Heads of calls have a limit, whether they come at once, in pieces or never to their end.

use std::io::{Read as _, Write as _};

use prost::Message as _;

use super::raw::{self, CONTINUATION, HEADERS, INFER, frame};
use super::{good, runtime, start};
use crate::support::wait_until;

/// The limit of a head.
const MOST: usize = 16 << 10;

/// Metadata beyond the limit is refused by HTTP, before anything is read of the call, and costs no other call of
/// the connection anything, unless it is so long that HTTP/2 gives the connection up.
#[test]
fn long_metadata_is_refused() {
    let server = start(&[]);
    runtime().block_on(async {
        let message = good().encode_to_vec();
        for (bytes, status) in [(MOST - 2000, Some(200)), (MOST + 1000, Some(431)), (10 * MOST, None)] {
            let mut sender = raw::connect(&server, 65_535, 65_535).await;
            let mut request = raw::post(INFER, &message);
            // Fields of many short values, as well as a long one.
            for i in 0..bytes / 1000 {
                let name = hyper::header::HeaderName::from_bytes(format!("x-{i}").as_bytes()).unwrap();
                request.headers_mut().insert(name, "a".repeat(960).parse().unwrap());
            }
            let long = sender.send_request(request);
            let other = sender.clone().send_request(raw::post(INFER, &message)).await;
            let found = long.await.map(|found| found.status().as_u16());
            let Some(status) = status else {
                assert!(found.is_err(), "{found:?}");
                continue;
            };
            assert_eq!(raw::head(&other.unwrap()), (String::new(), String::new()), "{bytes}");
            assert_eq!(found.unwrap(), status, "{bytes}");
        }
    });
    wait_until("those that were read have lines", || {
        server.log.text().matches("ModelInfer 200").count() >= 3
    });
}

/// A head that goes on and on ends its connection, and takes no more memory than one that ends.
#[test]
fn a_head_without_an_end_ends_its_connection() {
    let server = start(&[]);
    let mut stream = raw::open(&server);
    let mut begin = raw::hello(&[]);
    begin.extend(frame(HEADERS, 0, 1, &raw::call(INFER)));
    stream.write_all(&begin).unwrap();
    let field = raw::literal("x-more", &"a".repeat(100));
    let piece = frame(CONTINUATION, 0, 1, &field.repeat(MOST / field.len()));
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "it reads on");
    let mut rest = Vec::new();
    // Whether the last bytes come depends on who is faster.
    let _ = stream.read_to_end(&mut rest);
    wait_until("it is closed", || server.get("/metrics").text().contains("\nmb_connections 1\n"));
    // The same in many small pieces.
    let mut stream = raw::open(&server);
    stream.write_all(&begin).unwrap();
    let small = frame(CONTINUATION, 0, 1, &[]);
    let mut sent = 0;
    while sent < 1_000_000 && stream.write_all(&small).is_ok() {
        sent += 1;
    }
    assert!(sent < 1_000_000, "it reads on");
    wait_until("it is closed", || server.get("/metrics").text().contains("\nmb_connections 1\n"));
}
