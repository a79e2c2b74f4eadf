//! The body of an answer of gRPC: a message in pieces, or what is told to a watcher, and the trailers that
//! say that all went well.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::body::Held;
use super::streams::Open;

/// The most bytes of an answer that are handed over at once. The largest frame of HTTP/2 that every client
/// takes has as many.
pub(super) const PIECE_BYTES: usize = 16 << 10;

/// What an answer consists of behind its head.
#[derive(Debug)]
pub(crate) struct Content {
    kind: Kind,
    held: Vec<Box<dyn Held>>,
}

#[derive(Debug)]
enum Kind {
    /// The head says all.
    Head,
    /// A message in its frame.
    Message(Bytes),
    /// Messages in their frames, as they come.
    Watch(mpsc::Receiver<Bytes>),
}

impl Content {
    fn new(kind: Kind) -> Self {
        Self { kind, held: Vec::new() }
    }

    pub(crate) fn head() -> Self {
        Self::new(Kind::Head)
    }

    pub(crate) fn message(framed: Bytes) -> Self {
        Self::new(Kind::Message(framed))
    }

    pub(crate) fn watch(messages: mpsc::Receiver<Bytes>) -> Self {
        Self::new(Kind::Watch(messages))
    }

    /// Returns the bytes of the message, if there is one.
    pub(crate) fn len(&self) -> usize {
        match &self.kind {
            Kind::Message(message) => message.len(),
            Kind::Head | Kind::Watch(_) => 0,
        }
    }

    /// Returns true if the answer ends when the client wants it to.
    pub(crate) fn is_endless(&self) -> bool {
        matches!(self.kind, Kind::Watch(_))
    }

    /// Keeps a value until the last byte of the answer has been written.
    pub(crate) fn keeping<T: fmt::Debug + Send + 'static>(mut self, value: T) -> Self {
        self.held.push(Box::new(value));
        self
    }
}

/// The body of an answer.
pub(super) struct Frames {
    open: Arc<Open>,
    next: Next,
}

enum Next {
    /// The rest of the message, which the record of the connection has.
    Message,
    Watch {
        messages: mpsc::Receiver<Bytes>,
        _held: Vec<Box<dyn Held>>,
    },
    End,
}

impl Frames {
    pub(super) fn new(content: Content, open: Open) -> Self {
        let Content { kind, held } = content;
        let next = match kind {
            Kind::Head => Next::End,
            Kind::Message(message) => {
                open.answering(message, held);
                Next::Message
            }
            Kind::Watch(messages) => {
                open.watching();
                Next::Watch { messages, _held: held }
            }
        };
        Self { open: Arc::new(open), next }
    }
}

/// The client took too little of the answer for too long.
#[derive(Debug)]
pub(super) struct GivenUp;

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client did not take the answer in time (--body-timeout-ms)")
    }
}

impl std::error::Error for GivenUp {}

impl Body for Frames {
    type Data = Bytes;
    type Error = GivenUp;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GivenUp>>> {
        let Self { open, next } = self.get_mut();
        let data = match next {
            Next::Message => {
                let Some(bytes) = open.next_piece(PIECE_BYTES) else {
                    *next = Next::End;
                    return Poll::Ready(Some(Err(GivenUp)));
                };
                (!bytes.is_empty()).then(|| Piece::of(&bytes, open))
            }
            Next::Watch { messages, .. } => ready!(messages.poll_recv(cx)),
            Next::End => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(match data {
            Some(data) => Frame::data(data),
            None => {
                *next = Next::End;
                let ok = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
                Frame::trailers(HeaderMap::from_iter([ok]))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.next, Next::End)
    }
}

/// Bytes that wait in the connection. They are dropped once they are written, which the record is told. They
/// are a copy, so that a client that leaves a few of them lying does not keep the whole answer in memory.
struct Piece {
    bytes: Box<[u8]>,
    open: Arc<Open>,
}

impl Piece {
    fn of(bytes: &[u8], open: &Arc<Open>) -> Bytes {
        Bytes::from_owner(Self { bytes: bytes.into(), open: Arc::clone(open) })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.open.took(self.bytes.len());
    }
}
