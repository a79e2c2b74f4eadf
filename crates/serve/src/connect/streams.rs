//! HTTP/2 for gRPC: what the requests of a connection are doing, so that one that does nothing, or whose
//! client does not read, can be closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};

use super::body::Held;
use super::pulse::LEAST_RATE;
use super::{DRAIN_REST, FULL_REST, Stream};
use crate::handle::grpc::{Services, handle};
use crate::schedule::{Client, lock};
use crate::state::{Phase, Server};

/// The most requests of a connection at the same time. A client that has more waits or takes another
/// connection.
const STREAMS: u32 = 128;

/// The most bytes of a request's head.
const HEAD_BYTES: u32 = 16 << 10;

/// The most bytes of a connection's answers that wait for the client.
const WAITING_BYTES: usize = 256 << 10;

/// How long a client may take to say that it is there, and how often it is asked.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// How long a connection stays open once it was told that it is closed.
const LAST_REST: Duration = Duration::from_secs(1);

/// The requests of a connection.
#[derive(Debug)]
struct Streams {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Until when the client has to take the answer of each request that is open, once there is one.
    open: HashMap<u64, Option<Instant>>,
    next: u64,
    /// Since when no request is open.
    rests: Instant,
    /// True once there was a request.
    used: bool,
}

impl Streams {
    fn new(now: Instant) -> Self {
        let state = State { open: HashMap::new(), next: 0, rests: now, used: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn begin(streams: &Arc<Self>) -> Open {
        let mut state = lock(&streams.state);
        let number = state.next;
        state.next += 1;
        state.used = true;
        state.open.insert(number, None);
        streams.changed.notify_one();
        Open { streams: Arc::clone(streams), number }
    }

    /// Returns when the connection has to be closed, and whether it rests then. A client that was told that
    /// it is closed has a little more time.
    fn end(&self, rest: Duration, first: Duration, told: Option<Instant>) -> Option<(Instant, bool)> {
        let state = lock(&self.state);
        if let Some(end) = state.open.values().flatten().min() {
            return Some((*end, false));
        }
        let end = match told {
            Some(told) => told.checked_add(LAST_REST),
            None if state.used => state.rests.checked_add(rest),
            None => state.rests.checked_add(first.min(rest)),
        };
        end.filter(|_| state.open.is_empty()).map(|end| (end, true))
    }

    /// Lets the time of rest begin now.
    fn restart_rest(&self) {
        let mut state = lock(&self.state);
        (state.rests, state.used) = (Instant::now(), true);
    }
}

/// A request that is open.
#[derive(Debug)]
struct Open {
    streams: Arc<Streams>,
    number: u64,
}

impl Open {
    /// Gives the client time to take an answer of so many bytes.
    fn answering(&self, grace: Duration, bytes: usize) {
        let time = Duration::try_from_secs_f64(bytes as f64 / LEAST_RATE).unwrap_or_default();
        let end = Instant::now().checked_add(grace).and_then(|end| end.checked_add(time));
        lock(&self.streams.state).open.insert(self.number, end);
        self.streams.changed.notify_one();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = lock(&self.streams.state);
        state.open.remove(&self.number);
        state.rests = Instant::now();
        self.streams.changed.notify_one();
    }
}

/// The body of an answer. It is dropped once the connection has taken all of it, which it does as the client
/// reads.
pub(crate) struct Kept {
    body: tonic::body::Body,
    bytes: Option<usize>,
    held: Vec<Box<dyn Held>>,
}

impl Kept {
    /// Keeps a value with an answer of so many bytes, if it has an end.
    pub(crate) fn new<T: std::fmt::Debug + Send + 'static>(
        body: tonic::body::Body,
        bytes: Option<usize>,
        held: T,
    ) -> Self {
        Self { body, bytes, held: vec![Box::new(held)] }
    }

    fn during(mut self, open: Open, grace: Duration) -> Self {
        if let Some(bytes) = self.bytes {
            open.answering(grace, bytes);
        }
        self.held.push(Box::new(open));
        self
    }
}

impl Body for Kept {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers the requests of one connection until it is closed by either side.
pub(super) async fn connection(
    stream: Box<dyn Stream>,
    client: Client,
    server: &Arc<Server>,
    mut full: watch::Receiver<bool>,
) {
    let config = &server.config;
    let streams = Arc::new(Streams::new(Instant::now()));
    let service = {
        let (server, streams) = (Arc::clone(server), Arc::clone(&streams));
        let services = Services::new(&server);
        service_fn(move |request| {
            let open = Streams::begin(&streams);
            let (server, services) = (Arc::clone(&server), services.clone());
            async move {
                let response = handle(&server, client, services, request).await;
                let grace = server.config.body_timeout;
                Ok::<_, Infallible>(response.map(|body| body.during(open, grace)))
            }
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(WAITING_BYTES)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut phases = server.phases();
    let (mut drains, mut accepts, mut told) = (false, true, None::<Instant>);
    loop {
        let rest = match drains {
            true => DRAIN_REST,
            false if *full.borrow_and_update() => config.idle_timeout.min(FULL_REST),
            false => config.idle_timeout,
        };
        let end = |told| streams.end(rest, config.header_timeout, told);
        let until = end(told);
        let sleep = async {
            match until {
                Some((end, _)) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut connection => return,
            () = sleep => match end(told).filter(|(end, _)| *end <= Instant::now()) {
                Some((_, true)) if told.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    told = Some(Instant::now());
                }
                Some(_) => return,
                // It has begun something since the time was read.
                None => {}
            },
            () = streams.changed.notified() => {}
            // The other end is dropped once nothing is accepted any more.
            changed = full.changed(), if accepts => accepts = changed.is_ok(),
            _ = phases.wait_for(|phase| *phase == Phase::Draining), if !drains => {
                drains = true;
                streams.restart_rest();
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_rests_between_requests_and_answers_have_an_end() {
        let (rest, first, grace) = (Duration::from_secs(75), Duration::from_secs(10), Duration::from_secs(5));
        let now = Instant::now();
        let streams = Arc::new(Streams::new(now));
        assert_eq!(streams.end(rest, first, None), Some((now + first, true)));
        let (one, two) = (Streams::begin(&streams), Streams::begin(&streams));
        assert_eq!(streams.end(rest, first, None), None, "nothing is expected while answers are made");
        one.answering(grace, 0);
        two.answering(grace, 16384 * 30);
        let (end, told) = streams.end(rest, first, None).unwrap();
        assert!(!told && end >= now + grace && end < now + grace + Duration::from_secs(5));
        drop(one);
        assert!(streams.end(rest, first, None).unwrap().0 >= now + grace + Duration::from_secs(30));
        drop(two);
        let (end, told) = streams.end(rest, first, None).unwrap();
        assert!(told && end >= now + rest);
    }
}
