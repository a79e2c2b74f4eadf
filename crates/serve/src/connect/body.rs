//! Bodies: those of requests are read whole within limits, those of answers are one piece.

use std::convert::Infallible;
use std::io::Read as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use super::pulse::Busy;
use crate::budget::Part;
use crate::error::{Kind, Refusal, Result};

/// How much of a body that is too large is read and thrown away, and for how long, so that the client gets to
/// read why.
const LAST_WORDS: (usize, Duration) = (1 << 20, Duration::from_millis(200));

/// The bytes in front of a message of gRPC: whether it is packed, and its length.
#[cfg(feature = "grpc")]
const FRAME_BYTES: usize = 5;

/// Reads a body within a time, a size and the memory that is left for bodies. It is still packed, if the
/// client packed it.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    (most, mut part): (usize, Part),
    time: Duration,
) -> Result<Packed> {
    let coding = coding(headers)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let message = format!("the body has more than {most} bytes (--max-body-bytes)");
        Refusal::too_large(message).closing()
    };
    if announced.is_some_and(|length| length > most as u64) {
        drain(&mut body).await;
        return Err(too_large());
    }
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // A client that went away, or chunks that are none.
            let frame = frame.map_err(|_| Refusal::malformed("the body ends before its end").closing())?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > most {
                    drain(&mut body).await;
                    return Err(too_large());
                }
                if let Err(refusal) = part.grow(data.len()) {
                    drain(&mut body).await;
                    return Err(refusal);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok((bytes.freeze(), part))
    };
    let slow = |_| {
        let message = format!("the body did not arrive within {} ms (--body-timeout-ms)", time.as_millis());
        Refusal::new(Kind::SlowBody, "slow_body", message).closing()
    };
    let (bytes, part) = tokio::time::timeout(time, whole).await.map_err(slow)??;
    Ok(Packed { coding, bytes, part })
}

/// A body as it arrived.
#[derive(Debug)]
pub(crate) struct Packed {
    coding: Coding,
    bytes: Bytes,
    part: Part,
}

impl Packed {
    /// Returns true if unpacking does nothing.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.coding, Coding::Plain)
    }

    /// Takes the only message of a request of gRPC out of its frame. It is packed as `grpc-encoding` says, if
    /// its frame says so.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for no or more than one frame, and [`Kind::WrongType`] for an unknown coding.
    #[cfg(feature = "grpc")]
    pub(crate) fn message(self, headers: &HeaderMap) -> Result<Self> {
        let Self { mut bytes, part, .. } = self;
        let frame = bytes.split_to(bytes.len().min(FRAME_BYTES));
        let (flag, length) = match *frame {
            [flag, a, b, c, d] => (flag, u32::from_be_bytes([a, b, c, d])),
            _ => return Err(Refusal::malformed("the request has no message")),
        };
        if usize::try_from(length).ok() != Some(bytes.len()) {
            let found = bytes.len();
            let message = format!(
                "the message has {length} bytes by its frame, but {found} follow; expected one message"
            );
            return Err(Refusal::malformed(message));
        }
        let coding = match (flag, headers.get("grpc-encoding").map(|value| value.as_bytes())) {
            (0, _) => Coding::Plain,
            (1, Some(b"gzip")) => Coding::Gzip,
            (1, Some(b"deflate")) => Coding::Deflate,
            (1, Some(_)) => {
                let message = "grpc-encoding is none of gzip, deflate and identity";
                return Err(Refusal::new(Kind::WrongType, "unsupported_encoding", message));
            }
            _ => return Err(Refusal::malformed("the frame says that the message is packed, but not how")),
        };
        Ok(Self { coding, bytes, part })
    }

    /// Unpacks the body within a size. This may take long, so it is not for the threads that serve everyone.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for damaged data, [`Kind::TooLarge`], and [`Kind::Overloaded`] if no memory is
    /// left.
    pub(crate) fn unpack(self, most: usize) -> Result<(Bytes, Part)> {
        let Self { coding, bytes, mut part } = self;
        if !matches!(coding, Coding::Plain) {
            // How much it becomes is known afterwards only.
            part.grow(most)?;
        }
        let unpacked = match coding {
            Coding::Plain => Ok(bytes),
            // A file of gzip may have several members, which are one text.
            Coding::Gzip => unpacked(MultiGzDecoder::new(&bytes[..]), most),
            // HTTP's deflate has zlib's frame, which some clients leave away.
            Coding::Deflate if bytes.first().is_some_and(|byte| byte & 0x0f == 8) => {
                unpacked(ZlibDecoder::new(&bytes[..]), most)
            }
            Coding::Deflate => unpacked(DeflateDecoder::new(&bytes[..]), most),
        }?;
        part.shrink_to(unpacked.len());
        Ok((unpacked, part))
    }
}

async fn drain(body: &mut Incoming) {
    let (most, time) = LAST_WORDS;
    let rest = async {
        let mut left = most;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // The client is refused in any case, so an error or the end of the time changes nothing.
    let _ = tokio::time::timeout(time, rest).await;
}

/// How a body is packed.
#[derive(Debug, Clone, Copy)]
enum Coding {
    Plain,
    Gzip,
    Deflate,
}

fn coding(headers: &HeaderMap) -> Result<Coding> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Coding::Plain) };
    match value.as_bytes().to_ascii_lowercase().as_slice() {
        b"identity" | b"" => Ok(Coding::Plain),
        b"gzip" | b"x-gzip" => Ok(Coding::Gzip),
        b"deflate" => Ok(Coding::Deflate),
        _ => {
            let message = format!("content-encoding is {value:?}; expected gzip, deflate or identity");
            Err(Refusal::new(Kind::WrongType, "unsupported_encoding", message).closing())
        }
    }
}

fn unpacked(packed: impl std::io::Read, most: usize) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let read = packed.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Refusal::malformed(format!("the body cannot be unpacked: {error}")))?;
    match bytes.len() > most {
        true => Err(Refusal::too_large(format!(
            "the unpacked body has more than {most} bytes (--max-body-bytes)"
        ))),
        false => Ok(bytes.into()),
    }
}

/// The body of an answer. Once it is dropped, it has been handed to the connection, which may still have to
/// write it.
#[derive(Debug)]
pub(crate) struct Answer {
    data: Option<Bytes>,
    held: Vec<Box<dyn Held>>,
    busy: Option<Busy>,
    /// True if the client may still be sending what nobody reads.
    leaves_unread: bool,
}

/// Something that is dropped once the answer has been written.
pub(super) trait Held: std::fmt::Debug + Send {}

impl<T: std::fmt::Debug + Send> Held for T {}

impl Answer {
    pub(crate) fn new(data: Bytes) -> Self {
        let data = Some(data).filter(|data| !data.is_empty());
        Self { data, held: Vec::new(), busy: None, leaves_unread: false }
    }

    /// Keeps a value until the answer has been written.
    pub(crate) fn keeping<T: std::fmt::Debug + Send + 'static>(mut self, value: T) -> Self {
        self.held.push(Box::new(value));
        self
    }

    /// Says that the body of the request was not read to its end.
    pub(crate) fn leaving_unread(mut self) -> Self {
        self.leaves_unread = true;
        self
    }

    pub(super) fn holding(mut self, busy: Busy) -> Self {
        if self.leaves_unread {
            busy.leaves_unread();
        }
        self.busy = Some(busy);
        self
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(busy) = self.busy.take() {
            busy.handed_over(std::mem::take(&mut self.held));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
