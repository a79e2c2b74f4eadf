//! What a connection is doing, so that one that does nothing can be closed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

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
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Since when the client has not taken what is written.
    stuck: Option<Instant>,
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
        Self { state: Mutex::new(State { doing: Doing::Head(now), stuck: None }), changed: Notify::new() }
    }

    /// Marks the connection as busy until the result is dropped.
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
            Doing::Busy => None,
        };
        let stuck = state.stuck.and_then(|since| since.checked_add(stuck));
        doing.into_iter().chain(stuck).min()
    }

    /// Lets the time of rest begin now, for a connection that rests or waits for its first head.
    pub(super) fn restart_rest(&self) {
        let mut state = lock(&self.state);
        if !matches!(state.doing, Doing::Busy) {
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

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(|state| {
            state.doing = Doing::Rest(Instant::now());
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
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
