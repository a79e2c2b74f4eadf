//! What clients may not do: damaged requests, too much of anything, too slowly, without a key.

mod clients;
mod damaged;
mod requests;

use std::time::{Duration, Instant};

use crate::support::{Response, Server};

const GOOD: (&str, &str) = ("/api/v1/tiny-classify/classify", r#"{"inputs":"a good film"}"#);

/// Asks on a new connection, and on another one if this thread was held up until the server closed it.
fn asked(server: &Server, method: &str, path: &str, body: &str) -> Response {
    let headers = [("content-type", "application/json")];
    let ask = |_| server.client().send(method, path, &headers, body.as_bytes()).ok();
    (0..20).find_map(ask).expect("one of twenty connections is answered")
}

fn connections(server: &Server) -> u64 {
    // Closing takes a moment.
    let start = Instant::now();
    loop {
        let text = asked(server, "GET", "/metrics", "").text().to_owned();
        let line = text.lines().find(|line| line.starts_with("mb_connections ")).unwrap().to_owned();
        let open = line.split(' ').nth(1).unwrap().parse().unwrap();
        if open == 1 || start.elapsed() > Duration::from_secs(30) {
            return open;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
