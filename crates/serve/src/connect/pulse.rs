//! What a connection is doing, so that one that does nothing can be closed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::body::Held;
use crate::schedule::lock;

/// The bytes of an answer that a client has to take in a second, once it does not take all at once.
pub(super) const LEAST_RATE: f64 = 16384.0;

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy)]
enum Doing {
    /// It rests between requests.
    Rest(Instant),
    /// The head of a request is expected or has begun.
    Head(Instant),
    /// A request is being answered.
    Busy,
    /// The answer is made, and its bytes are being written.
    Writing,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Set once the client does not take all that is written, until it has taken the whole answer.
    slow: Option<Slow>,
    /// What is kept until the last byte of the answer has been written.
    held: Vec<Box<dyn Held>>,
    /// True if the client may still be sending what nobody reads.
    unread: bool,
}

/// A client that takes an answer piece by piece.
#[derive(Debug, Clone, Copy)]
struct Slow {
    since: Instant,
    /// The bytes that it has taken since then.
    taken: usize,
}

impl Slow {
    /// Returns until when it has to go on. Each piece gives it more time, but a byte now and then does not.
    fn end(&self, grace: Duration) -> Option<Instant> {
        let time = Duration::try_from_secs_f64(self.taken as f64 / LEAST_RATE).unwrap_or_default();
        self.since.checked_add(grace)?.checked_add(time)
    }
}

/// The record of a connection.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<State>,
    changed: Notify,
}

impl Pulse {
    /// Makes the record of a connection that was accepted now, whose first head has to come soon.
    pub(super) fn new(now: Instant) -> Self {
        let state = State { doing: Doing::Head(now), slow: None, held: Vec::new(), unread: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Makes the record of a connection of which only this is asked: whether its client takes what is written.
    #[cfg(feature = "grpc")]
    pub(super) fn of_streams() -> Self {
        let state = State { doing: Doing::Busy, slow: None, held: Vec::new(), unread: false };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Marks the connection as busy until the result is dropped, and as writing from then on.
    pub(super) fn begin(pulse: &Arc<Self>) -> Busy {
        lock(&pulse.state).doing = Doing::Busy;
        pulse.changed.notify_one();
        Busy(Arc::clone(pulse))
    }

    /// Returns when the connection has to be closed, unless it does something before.
    pub(super) fn end(&self, rest: Duration, head: Duration, stuck: Duration) -> Option<Instant> {
        let state = lock(&self.state);
        let doing = match state.doing {
            Doing::Rest(since) => since.checked_add(rest),
            Doing::Head(since) => since.checked_add(head),
            Doing::Busy | Doing::Writing => None,
        };
        // As long as bytes wait for the client, nothing else is expected of it.
        match state.slow {
            Some(slow) => slow.end(stuck),
            None => doing,
        }
    }

    /// Lets the time of rest begin now, for a connection that rests or waits for its first head.
    pub(super) fn restart_rest(&self) {
        let mut state = lock(&self.state);
        if matches!(state.doing, Doing::Rest(_) | Doing::Head(_)) {
            state.doing = Doing::Rest(Instant::now());
        }
    }

    /// Returns true if the last answer was given before the request was read to its end.
    pub(super) fn has_unread(&self) -> bool {
        lock(&self.state).unread
    }

    /// Waits until the connection does something else.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn set(&self, change: impl FnOnce(&mut State) -> bool) {
        if change(&mut lock(&self.state)) {
            self.changed.notify_one();
        }
    }
}

/// Marks a connection as busy.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Pulse>);

impl Busy {
    pub(super) fn leaves_unread(&self) {
        lock(&self.0.state).unread = true;
    }

    /// Keeps values until the answer, which the connection has now, has been written.
    pub(super) fn handed_over(self, mut held: Vec<Box<dyn Held>>) {
        lock(&self.0.state).held.append(&mut held);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(|state| {
            state.doing = Doing::Writing;
            true
        });
    }
}

/// A stream that writes the record.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse }
    }

    /// Notes that nothing is left to write. An answer that was being written is done then, and rest begins.
    fn flushed(&self) {
        let mut held = Vec::new();
        self.pulse.set(|state| {
            let was_slow = state.slow.take().is_some();
            let was_writing = matches!(state.doing, Doing::Writing);
            if was_writing {
                state.doing = Doing::Rest(Instant::now());
                std::mem::swap(&mut held, &mut state.held);
            }
            was_writing || was_slow
        });
        // What was held is dropped here, after the lock.
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.pulse.set(|state| match (result, &mut state.slow) {
            (Poll::Pending, None) => {
                state.slow = Some(Slow { since: Instant::now(), taken: 0 });
                true
            }
            (Poll::Ready(Ok(bytes)), Some(slow)) => {
                slow.taken = slow.taken.saturating_add(*bytes);
                true
            }
            _ => false,
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.set(|state| match state.doing {
                Doing::Rest(_) => {
                    state.doing = Doing::Head(Instant::now());
                    true
                }
                _ => false,
            });
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP flushes once it has written all that it has.
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        match result {
            Poll::Ready(Ok(())) => self.flushed(),
            // TLS takes bytes that the client has not taken yet.
            Poll::Pending => self.wrote(&Poll::Pending),
            Poll::Ready(Err(_)) => {}
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes a byte, and then nothing, by turns.
    struct Sip(bool);

    impl AsyncWrite for Sip {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            self.0 = !self.0;
            if self.0 { Poll::Pending } else { Poll::Ready(Ok(1)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn single_bytes_do_not_move_the_end_and_a_whole_answer_does() {
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let mut watched = Watched::new(Sip(false), Arc::clone(&pulse));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        drop(Pulse::begin(&pulse));
        let (day, grace) = (Duration::from_secs(86_400), Duration::from_secs(10));
        let end = || pulse.end(day, day, grace);
        assert_eq!(end(), None, "nothing is expected while an answer is made");
        let _ = Pin::new(&mut watched).poll_write(&mut cx, b"answer");
        let first = end().unwrap();
        for _ in 0..1000 {
            let _ = Pin::new(&mut watched).poll_write(&mut cx, b"answer");
        }
        // Half of the times it took a byte.
        let expected = Duration::from_secs_f64(500.0 / LEAST_RATE);
        assert_eq!(end().unwrap() - first, expected);
        let _ = Pin::new(&mut watched).poll_flush(&mut cx);
        assert!(end().unwrap() > first + grace, "it rests, for which there is more time");
    }

    /// TLS, which takes all bytes and is not rid of them.
    struct Swallow;

    impl AsyncWrite for Swallow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn an_answer_that_is_not_flushed_has_an_end() {
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let mut watched = Watched::new(Swallow, Arc::clone(&pulse));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        drop(Pulse::begin(&pulse));
        let (day, grace) = (Duration::from_secs(86_400), Duration::from_secs(10));
        assert!(Pin::new(&mut watched).poll_write(&mut cx, b"answer").is_ready());
        assert_eq!(pulse.end(day, day, grace), None);
        assert!(Pin::new(&mut watched).poll_flush(&mut cx).is_pending());
        assert!(pulse.end(day, day, grace).is_some_and(|end| end <= Instant::now() + grace));
    }

    #[test]
    fn a_client_gets_time_for_what_it_takes_and_not_for_single_bytes() {
        let (grace, now) = (Duration::from_secs(10), Instant::now());
        let ends = |taken| Slow { since: now, taken }.end(grace).unwrap() - now;
        assert_eq!(ends(0), grace);
        assert!(ends(100) < grace + Duration::from_millis(10));
        assert_eq!(ends(16384 * 30), grace + Duration::from_secs(30));
        assert!(ends(usize::MAX) > grace);
    }
}
