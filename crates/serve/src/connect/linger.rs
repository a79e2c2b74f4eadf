//! The end of a connection. A system that gets bytes for a connection that was closed on its side answers with a
//! reset, and throws away what it has not sent yet: the last bytes of an answer whose client reads slowly, or a
//! refusal whose client still sends its body. So the server says that it writes no more, and reads on for a while.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};

use super::Stream;
use crate::state::{Phase, Server};

/// The longest time that suffices for all that a system's buffers hold and a client that takes it slowly.
#[cfg(feature = "grpc")]
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// The most bytes that are read of a client that had its answers: what it has on its way, and its consent to more.
/// Without a bound, a head without an end would be read for minutes.
#[cfg(feature = "grpc")]
pub(super) const MOST_BYTES: usize = 8 << 20;

/// How long a client may be silent that sends what nobody reads: its bytes come without a pause.
pub(super) const SHORT_SILENCE: Duration = Duration::from_secs(1);

/// The same for all clients once the server stops.
const LAST_SILENCE: Duration = Duration::from_millis(200);

/// A stream that comes back from whoever drops it.
pub(super) struct Lent {
    stream: Option<Box<dyn Stream>>,
    back: Option<oneshot::Sender<Box<dyn Stream>>>,
}

impl Lent {
    /// Returns the stream, and what gets it afterwards.
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, oneshot::Receiver<Box<dyn Stream>>) {
        let (back, returned) = oneshot::channel();
        (Self { stream: Some(stream), back: Some(back) }, returned)
    }

    /// The stream is there until this is dropped.
    fn stream(&mut self) -> io::Result<Pin<&mut Box<dyn Stream>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            // Nobody may want it, and then it is closed.
            let _ = back.send(stream);
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

/// Says that nothing more is written, and reads until the client closes its side or is silent for so long, until
/// the longest time is over, `most` bytes are read, or until somebody else wants its place.
pub(super) async fn linger(
    stream: oneshot::Receiver<Box<dyn Stream>>,
    server: &Server,
    mut waiting: watch::Receiver<usize>,
    (silence, longest): (Duration, Duration),
    mut most: usize,
) {
    let Ok(mut stream) = stream.await else { return };
    let shut = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx));
    // A client that is gone already is no matter here.
    if !matches!(tokio::time::timeout(SHORT_SILENCE, shut).await, Ok(Ok(()))) {
        return;
    }
    let longest = Instant::now() + longest;
    let mut phases = server.phases();
    let mut drains = false;
    let mut bytes = [0; 4096];
    loop {
        let silence = if drains { silence.min(LAST_SILENCE) } else { silence };
        let until = longest.min(Instant::now() + silence);
        let read = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            Pin::new(&mut stream).poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
        });
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until.into()) => return,
            _ = waiting.wait_for(|waiting| *waiting > 0) => return,
            read = read => match read {
                Ok(read @ 1..) if read < most => most -= read,
                Ok(_) | Err(_) => return,
            },
            _ = phases.wait_for(|phase| *phase == Phase::Draining), if !drains => drains = true,
        }
    }
}
