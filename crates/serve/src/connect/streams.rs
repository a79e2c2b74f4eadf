//! HTTP/2 for gRPC: what the requests of a connection are doing, so that one that does nothing can be closed,
//! and answers that its client does not take can be given up.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};

use super::body::Held;
use super::frames::{Frames, PIECE_BYTES};
use super::linger::{LONGEST, Lent, MOST_BYTES, linger};
use super::pulse::{LEAST_RATE, Pulse, Watched};
use super::{DRAIN_REST, FULL_REST, Stream};
use crate::handle::grpc::handle;
use crate::schedule::{Client, lock};
use crate::state::{Phase, Server};

/// The most requests of a connection at the same time. A client that has more waits or takes another
/// connection.
const STREAMS: u32 = 128;

/// The most bytes of a request's head.
const HEAD_BYTES: u32 = 16 << 10;

/// The bytes of one answer that may wait for the client in the connection: another piece is handed over once
/// there are fewer.
const WAITING_BYTES: usize = PIECE_BYTES;

/// How long a client may take to say that it is there, and how often it is asked.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// How long a connection stays open once it was told that it is closed.
const LAST_REST: Duration = Duration::from_secs(1);

/// The number of answers that a connection's client does not take after which the connection is closed. Two
/// pieces of each may stay in memory until then.
const MOST_GIVEN_UP: usize = 8;

/// The requests of a connection.
#[derive(Debug)]
struct Streams {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// The requests that are open, and their answers once there are any.
    open: HashMap<u64, Option<Answer>>,
    next: u64,
    /// The bytes of all answers that have been written.
    taken: u64,
    /// The answers that the client did not take in time.
    given_up: usize,
    /// The requests whose answers have no end.
    watches: usize,
    /// Since when no request is open.
    rests: Instant,
    /// True once there was a request.
    used: bool,
}

/// An answer that is being written.
#[derive(Debug)]
struct Answer {
    since: Instant,
    /// The bytes that the client had taken of all answers before.
    before: u64,
    /// What has not been handed over yet.
    rest: Bytes,
    /// What is kept until the last byte has been written.
    held: Vec<Box<dyn Held>>,
}

impl Answer {
    /// Returns until when the client has to go on. What it takes of other answers gives it time too: they
    /// share its line.
    fn end(&self, grace: Duration, taken: u64) -> Option<Instant> {
        let bytes = taken.saturating_sub(self.before);
        let time = Duration::try_from_secs_f64(bytes as f64 / LEAST_RATE).unwrap_or_default();
        self.since.checked_add(grace)?.checked_add(time)
    }
}

/// What has to happen to a connection at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// An answer is given up.
    Answer,
    /// It has rested long enough.
    Rest,
    /// Its client takes nothing at all.
    Close,
}

/// How long a connection may rest.
#[derive(Debug, Clone, Copy)]
struct Rests {
    /// After a request.
    rest: Duration,
    /// Before the first one.
    first: Duration,
    /// True if watchers keep it open.
    watchers_count: bool,
    /// When the client was told that the connection is closed.
    told: Option<Instant>,
}

impl Streams {
    fn new(now: Instant) -> Self {
        let state = State {
            open: HashMap::new(),
            next: 0,
            taken: 0,
            given_up: 0,
            watches: 0,
            rests: now,
            used: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    fn begin(streams: &Arc<Self>) -> Open {
        let mut state = lock(&streams.state);
        let number = state.next;
        state.next += 1;
        state.used = true;
        state.open.insert(number, None);
        streams.changed.notify_one();
        Open { streams: Arc::clone(streams), number, watches: AtomicBool::new(false) }
    }

    /// Returns what has to happen next, unless something else does before. A client that was told that the
    /// connection is closed has a little more time.
    fn end(&self, rests: Rests, grace: Duration) -> Option<(Instant, Due)> {
        let state = lock(&self.state);
        let answers = state.open.values().flatten();
        if let Some(end) = answers.filter_map(|answer| answer.end(grace, state.taken)).min() {
            return Some((end, Due::Answer));
        }
        if !state.open.is_empty() || state.watches > 0 && rests.watchers_count && rests.told.is_none() {
            return None;
        }
        let end = match rests.told {
            Some(told) => told.max(state.rests).checked_add(LAST_REST),
            None if state.used => state.rests.checked_add(rests.rest),
            None => state.rests.checked_add(rests.first.min(rests.rest)),
        };
        end.map(|end| (end, Due::Rest))
    }

    /// Lets the time of rest begin now.
    fn restart_rest(&self) {
        let mut state = lock(&self.state);
        (state.rests, state.used) = (Instant::now(), true);
    }

    /// Gives up the answers whose time is over, and returns how many have been given up in all.
    fn give_up(&self, grace: Duration) -> usize {
        let (now, mut late) = (Instant::now(), Vec::new());
        let mut state = lock(&self.state);
        let taken = state.taken;
        let is_late = |answer: &Option<Answer>| {
            answer.as_ref().and_then(|answer| answer.end(grace, taken)).is_some_and(|end| end <= now)
        };
        late.extend(state.open.extract_if(|_, answer| is_late(answer)));
        state.given_up += late.len();
        state.rests = now;
        // What was held is dropped after the lock.
        state.given_up
    }
}

/// A request that is open until it is answered, and its answer is written or given up.
#[derive(Debug)]
pub(super) struct Open {
    streams: Arc<Streams>,
    number: u64,
    watches: AtomicBool,
}

impl Open {
    /// Begins to answer. What is held is kept until the last byte has been written.
    pub(super) fn answering(&self, message: Bytes, held: Vec<Box<dyn Held>>) {
        let mut state = lock(&self.streams.state);
        let answer = Answer { since: Instant::now(), before: state.taken, rest: message, held };
        state.open.insert(self.number, Some(answer));
        self.streams.changed.notify_one();
    }

    /// Begins an answer that has no end, and so is none that anyone waits for.
    pub(super) fn watching(&self) {
        let mut state = lock(&self.streams.state);
        state.open.remove(&self.number);
        state.watches += 1;
        state.rests = Instant::now();
        self.watches.store(true, Ordering::Release);
        self.streams.changed.notify_one();
    }

    /// Takes the next bytes of the answer. They are none at its end, and the result is `None` if it was given
    /// up.
    pub(super) fn next_piece(&self, most: usize) -> Option<Bytes> {
        let mut state = lock(&self.streams.state);
        let answer = state.open.get_mut(&self.number)?.as_mut()?;
        let length = answer.rest.len().min(most);
        Some(answer.rest.split_to(length))
    }

    /// Notes that bytes have been written.
    pub(super) fn took(&self, bytes: usize) {
        let mut state = lock(&self.streams.state);
        state.taken = state.taken.saturating_add(bytes as u64);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = lock(&self.streams.state);
        let ended = state.open.remove(&self.number).flatten();
        state.watches -= usize::from(self.watches.load(Ordering::Acquire));
        state.rests = Instant::now();
        self.streams.changed.notify_one();
        drop(state);
        drop(ended.map(|answer| answer.held));
    }
}

/// Answers the requests of one connection until it is closed by either side.
pub(super) async fn connection(
    stream: Box<dyn Stream>,
    client: Client,
    server: &Arc<Server>,
    waiting: watch::Receiver<usize>,
) {
    let (stream, returned) = Lent::new(stream);
    if speak(stream, client, server, waiting.clone()).await {
        // The client makes room while it reads, so it is not silent until it has read all.
        linger(returned, server, waiting, (server.config.body_timeout, LONGEST), MOST_BYTES).await;
    }
}

/// Answers the requests of one connection. Returns true if it ended in peace, and false if it was given up
/// because its client does not take what is written.
async fn speak(
    stream: Lent,
    client: Client,
    server: &Arc<Server>,
    mut waiting: watch::Receiver<usize>,
) -> bool {
    let config = &server.config;
    let streams = Arc::new(Streams::new(Instant::now()));
    let service = {
        let (server, streams) = (Arc::clone(server), Arc::clone(&streams));
        service_fn(move |request| {
            let open = Streams::begin(&streams);
            let server = Arc::clone(&server);
            async move {
                let response = handle(&server, client, request).await;
                Ok::<_, Infallible>(response.map(|content| Frames::new(content, open)))
            }
        })
    };
    // It says when the client takes nothing of all that is written, whatever belongs to which answer.
    let pulse = Arc::new(Pulse::of_streams());
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(WAITING_BYTES)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&pulse))), service);
    tokio::pin!(connection);
    let mut phases = server.phases();
    let (mut drains, mut accepts, mut told) = (false, true, None::<Instant>);
    loop {
        let is_full = *waiting.borrow_and_update() > 0;
        let rest = match drains {
            true => DRAIN_REST,
            false if is_full => config.idle_timeout.min(FULL_REST),
            false => config.idle_timeout,
        };
        let (first, grace) = (config.header_timeout, config.body_timeout);
        let end = |told| {
            let rests = Rests { rest, first, watchers_count: !drains && !is_full, told };
            let own = streams.end(rests, grace);
            match pulse.end(rest, first, grace) {
                // As long as bytes wait for the client, it does not rest.
                Some(stuck) => {
                    let answer = own.filter(|(_, due)| *due == Due::Answer);
                    answer.filter(|(end, _)| *end < stuck).or(Some((stuck, Due::Close)))
                }
                None => own,
            }
        };
        let until = end(told);
        let sleep = async {
            match until {
                Some((end, _)) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut connection => return true,
            () = sleep => match end(told).filter(|(end, _)| *end <= Instant::now()) {
                Some((_, Due::Close)) => return false,
                Some((_, Due::Rest)) if told.is_some() => return true,
                // Its other requests are answered, and new ones go elsewhere.
                Some((_, due)) => {
                    if due == Due::Answer && streams.give_up(grace) >= MOST_GIVEN_UP {
                        return false;
                    }
                    if told.is_none() {
                        connection.as_mut().graceful_shutdown();
                        told = Some(Instant::now());
                    }
                }
                // It has begun something since the time was read.
                None => {}
            },
            () = streams.changed.notified() => {}
            () = pulse.changed() => {}
            // The other end is dropped once the server has stopped.
            changed = waiting.changed(), if accepts => accepts = changed.is_ok(),
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

    const GRACE: Duration = Duration::from_secs(5);

    fn rests(watchers_count: bool) -> Rests {
        let (rest, first) = (Duration::from_secs(75), Duration::from_secs(10));
        Rests { rest, first, watchers_count, told: None }
    }

    #[test]
    fn a_connection_rests_between_requests_and_answers_have_an_end() {
        let now = Instant::now();
        let streams = Arc::new(Streams::new(now));
        let end = || streams.end(rests(true), GRACE);
        assert_eq!(end(), Some((now + rests(true).first, Due::Rest)));
        let (one, two) = (Streams::begin(&streams), Streams::begin(&streams));
        assert_eq!(end(), None, "nothing is expected while answers are made");
        one.answering(Bytes::new(), Vec::new());
        let (first, due) = end().unwrap();
        assert!(due == Due::Answer && first >= now + GRACE && first < now + 2 * GRACE);
        // What is taken of one answer gives time to all.
        two.answering(Bytes::from(vec![0; 100]), Vec::new());
        two.took(16384 * 30);
        assert_eq!(end().unwrap(), (first + Duration::from_secs(30), Due::Answer));
        drop(one);
        drop(two);
        let (end, due) = end().unwrap();
        assert!(due == Due::Rest && end >= now + rests(true).rest);
    }

    #[test]
    fn an_answer_that_is_given_up_frees_its_memory_and_no_other_is() {
        let streams = Arc::new(Streams::new(Instant::now()));
        let (one, two) = (Streams::begin(&streams), Streams::begin(&streams));
        let held = Arc::new(());
        one.answering(Bytes::from(vec![7; 100]), vec![Box::new(Arc::clone(&held))]);
        assert_eq!(one.next_piece(60).unwrap().len(), 60);
        assert_eq!(streams.give_up(GRACE), 0);
        assert_eq!(streams.give_up(Duration::ZERO), 1);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(one.next_piece(60), None);
        // The other one is still being made.
        two.answering(Bytes::from(vec![7; 100]), Vec::new());
        assert_eq!(two.next_piece(200).unwrap().len(), 100);
        assert_eq!(two.next_piece(200).unwrap().len(), 0);
    }

    #[test]
    fn watchers_keep_a_connection_open_until_its_place_is_wanted() {
        let streams = Arc::new(Streams::new(Instant::now()));
        let watch = Streams::begin(&streams);
        watch.watching();
        assert_eq!(streams.end(rests(true), GRACE), None);
        assert!(matches!(streams.end(rests(false), GRACE), Some((_, Due::Rest))));
        drop(watch);
        assert!(matches!(streams.end(rests(true), GRACE), Some((_, Due::Rest))));
    }
}
