//! Refusals: why a request gets no result. Each dialect writes them in its own form.

use std::borrow::Cow;
use std::time::Duration;

use mobilebert::{Error, ErrorKind};

/// The result of everything that answers requests.
pub(crate) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// The most characters of a client's text that a message repeats.
const MOST_QUOTED: usize = 64;

/// The most bytes of a message.
const MOST_MESSAGE: usize = 2048;

/// Returns as much of a client's text as a message may repeat.
pub(crate) fn short(text: &str) -> &str {
    text.char_indices().nth(MOST_QUOTED).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The kind of a refusal, which decides the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body is not what the route reads.
    Malformed,
    /// The body is well formed, but its values cannot be used.
    Invalid,
    /// No API key, or not one of the file's.
    Unauthorized,
    /// The name of the host in the request is not one of this server.
    WrongHost,
    /// No such route.
    NotFound,
    /// No such model, or not for this task.
    NoModel,
    /// The route exists for another method.
    WrongMethod,
    /// The body did not arrive in time. A connection whose head does not arrive is closed without an answer.
    SlowBody,
    /// The body, a text or a list is beyond a limit.
    TooLarge,
    /// The body has another media type or coding.
    WrongType,
    /// The queue is full, or the expected wait is longer than the request's deadline.
    Overloaded,
    /// The server, or this model, failed.
    Internal,
    /// The server is loading its models, or is about to stop.
    Unavailable,
    /// The deadline passed before the result was there.
    Late,
}

impl Kind {
    /// Returns the HTTP status.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::NotFound | Self::NoModel => 404,
            Self::WrongMethod => 405,
            Self::SlowBody => 408,
            Self::TooLarge => 413,
            Self::WrongType => 415,
            Self::WrongHost => 421,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Late => 504,
        }
    }
}

/// A request that gets no result, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// A stable name for programs: one of the engine's codes, or one of the server's own.
    pub(crate) code: &'static str,
    pub(crate) message: Cow<'static, str>,
    /// The field of the request that is at fault.
    pub(crate) param: Option<Cow<'static, str>>,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
    /// True if the connection cannot be used any more, because the rest of the body was not read.
    pub(crate) close: bool,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, code, message: message.into(), param: None, retry_after: None, close: false }
    }

    /// The body cannot be read as this route's request.
    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Malformed, "malformed", message)
    }

    /// A field has a value that cannot be used.
    pub(crate) fn invalid(
        param: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Kind::Invalid, "invalid", message).of(param)
    }

    /// Something is beyond a limit; the message names the flag.
    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::TooLarge, "too_large", message)
    }

    /// A fault of the server.
    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Internal, "internal", message)
    }

    /// Nobody can be served now.
    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(Kind::Unavailable, "unavailable", message)
        }
    }

    /// Names the field that is at fault.
    pub(crate) fn of(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Cuts a long message: it may repeat what the client sent, and is not counted with the answers.
    pub(crate) fn shortened(mut self) -> Self {
        if self.message.len() > MOST_MESSAGE {
            let end = self.message.floor_char_boundary(MOST_MESSAGE);
            self.message = format!("{} ...", &self.message[..end]).into();
        }
        self
    }

    /// Says that the connection has to be closed.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

impl From<Error> for Refusal {
    /// Sorts the engine's errors: those that a request brings about are the client's, all others ours.
    fn from(error: Error) -> Self {
        let (kind, param) = match error.kind() {
            ErrorKind::EmptyText { what } => (Kind::Invalid, Some(*what)),
            ErrorKind::TooLong { what, .. } => (Kind::Invalid, Some(*what)),
            ErrorKind::Option { option, .. } => (Kind::Invalid, Some(*option)),
            ErrorKind::Batch { .. } | ErrorKind::Input { .. } => (Kind::Invalid, None),
            ErrorKind::WrongTask { .. } => (Kind::NoModel, None),
            _ => (Kind::Internal, None),
        };
        let message = error.with_causes(error.to_string());
        let refusal = Self::new(kind, error.code(), message);
        match param {
            Some(param) => refusal.of(param),
            None => refusal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_repeat_little() {
        assert_eq!(short("é"), "é");
        assert_eq!(short(&"é".repeat(65)), "é".repeat(64));
        let long = Refusal::malformed("é".repeat(5000)).shortened();
        assert!(long.message.len() < 2100 && long.message.ends_with("é ..."));
        assert_eq!(Refusal::malformed("short").shortened().message, "short");
    }
}
