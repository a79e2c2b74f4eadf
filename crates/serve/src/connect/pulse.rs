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
    /// Since when the client has not taken what is written.
    stuck: Option<Instant>,
    /// What is kept until the last byte of the answer has been written.
    held: Vec<Box<dyn Held>>,
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
        let state = State { doing: Doing::Head(now), stuck: None, held: Vec::new() };
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
        match state.stuck {
            Some(since) => since.checked_add(stuck),
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
            let was_writing = matches!(state.doing, Doing::Writing);
            if was_writing {
                state.doing = Doing::Rest(Instant::now());
                std::mem::swap(&mut held, &mut state.held);
            }
            was_writing
        });
        // What was held is dropped here, after the lock.
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        self.pulse.set(|state| match result {
            Poll::Pending if state.stuck.is_none() => {
                state.stuck = Some(Instant::now());
                true
            }
            Poll::Pending => false,
            Poll::Ready(_) => state.stuck.take().is_some(),
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
        if matches!(result, Poll::Ready(Ok(()))) {
            self.flushed();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
