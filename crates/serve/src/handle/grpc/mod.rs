//! One request of gRPC, from its head to its answer. Limits, keys, deadlines and the queue are those of HTTP.

mod health;
mod service;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use prost::Message;

use super::answer::{Place, Record, describe};
use super::head::{authorized, check_host, deadline};
use super::run::{Asked, SHORT_BODY, off_thread};
use super::{Open, SHORT_ANSWER, Seen, repository};
use crate::budget::{Budget, Part};
use crate::config::Config;
use crate::connect::{Content, Purpose, read};
use crate::error::{Kind, Refusal, Result};
use crate::schedule::Client;
use crate::state::{Phase, Server};

/// The name of gRPC in the metrics and in the log.
const DIALECT: &str = "grpc";

/// The name of the service.
const SERVICE: &str = "inference.GRPCInferenceService";

/// The most bytes of a message with nothing but names.
const NAMES_BYTES: usize = 64 << 10;

/// The most bytes of a message that needs no key. It is not counted with those of others, so that nobody
/// without a key takes their memory, and health is told when it is taken.
const OPEN_BYTES: usize = 1024;

/// The bytes in front of a message: whether it is packed, and its length.
const FRAME_BYTES: usize = 5;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Everyone,
    Key,
    Admin,
}

/// What a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Live,
    Ready,
    ModelReady,
    Metadata,
    ModelMetadata,
    Infer,
    Index,
    Load,
    Unload,
    Check,
    Watch,
}

/// A method.
#[derive(Debug, Clone, Copy)]
struct Method {
    path: &'static str,
    /// The task in the metrics.
    task: &'static str,
    access: Access,
    does: Does,
}

impl Method {
    /// Returns the most bytes that its message may have, and those that it may be unpacked to.
    fn most_bytes(&self, config: &Config) -> usize {
        let most = match (self.access, self.does) {
            (_, Does::Infer) => config.max_body_bytes,
            (Access::Everyone, _) => OPEN_BYTES,
            _ => NAMES_BYTES,
        };
        most.min(config.max_body_bytes)
    }
}

const fn method(path: &'static str, task: &'static str, access: Access, does: Does) -> Method {
    Method { path, task, access, does }
}

/// All methods.
const METHODS: &[Method] = &[
    method("/inference.GRPCInferenceService/ServerLive", "health", Access::Everyone, Does::Live),
    method("/inference.GRPCInferenceService/ServerReady", "health", Access::Everyone, Does::Ready),
    method("/inference.GRPCInferenceService/ModelReady", "health", Access::Key, Does::ModelReady),
    method("/inference.GRPCInferenceService/ServerMetadata", "about", Access::Key, Does::Metadata),
    method("/inference.GRPCInferenceService/ModelMetadata", "about", Access::Key, Does::ModelMetadata),
    method("/inference.GRPCInferenceService/ModelInfer", "infer", Access::Key, Does::Infer),
    method("/inference.GRPCInferenceService/RepositoryIndex", "repository", Access::Admin, Does::Index),
    method("/inference.GRPCInferenceService/RepositoryModelLoad", "repository", Access::Admin, Does::Load),
    method(
        "/inference.GRPCInferenceService/RepositoryModelUnload",
        "repository",
        Access::Admin,
        Does::Unload,
    ),
    method("/grpc.health.v1.Health/Check", "health", Access::Everyone, Does::Check),
    method("/grpc.health.v1.Health/Watch", "health", Access::Everyone, Does::Watch),
];

/// Answers a request.
pub(crate) async fn handle(
    server: &Arc<Server>,
    client: Client,
    request: Request<Incoming>,
) -> Response<Content> {
    let open = Open::new(server);
    let (head, body) = request.into_parts();
    let method = METHODS.iter().find(|method| method.path == head.uri.path());
    let place = Place {
        route: method.map_or("none", |method| method.path),
        task: method.map_or("none", |method| method.task),
        dialect: DIALECT,
    };
    let mut record = Record::new(server, &head, client, place);
    let answered = match check(server, &mut record.client, &head, method) {
        Ok((method, time)) => {
            let (client, start) = (record.client, record.start);
            let request = Incomplete { headers: head.headers, body, method, client, start, time };
            answer(server, request, &mut record.seen).await
        }
        Err(refusal) => Err(refusal),
    };
    // A client that takes its time keeps the answer in memory, so it counts until the last byte is written.
    let mut kept = Part::of(&server.bodies);
    let answered = answered.and_then(|content| match content.len() {
        length if length > SHORT_ANSWER => kept.grow(length).map(|()| content),
        _ => Ok(content),
    });
    let (code, status) =
        answered.as_ref().err().map_or(("", 200), |refusal| (refusal.code, refusal.kind.status()));
    record.end(status, code);
    let mut response = answered.map_or_else(|refusal| refuse(&refusal), respond);
    describe(response.headers_mut(), &record.seen, &record.id);
    // Nobody waits for the end of an answer that has none.
    response.map(|content| match content.is_endless() {
        true => content,
        false => content.keeping((open, kept)),
    })
}

fn respond(content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn refuse(refusal: &Refusal) -> Response<Content> {
    let mut response = Response::new(Content::head());
    match refusal.code {
        // Whoever sends another type speaks no gRPC.
        "unsupported_media_type" => *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => response = status::status(refusal).into_http::<()>().map(|()| Content::head()),
    }
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,deflate"));
    response
}

/// Checks the head, and returns the method and how long it may take.
fn check<'m>(
    server: &Server,
    client: &mut Client,
    head: &hyper::http::request::Parts,
    method: Option<&'m Method>,
) -> Result<(&'m Method, Duration)> {
    check_host(server, Purpose::Grpc, head)?;
    let media = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !media.starts_with(b"application/grpc") || media.starts_with(b"application/grpc-web") {
        let message = "content-type is not application/grpc";
        return Err(Refusal::new(Kind::WrongType, "unsupported_media_type", message));
    }
    let Some(method) = method else {
        return Err(Refusal::new(Kind::WrongMethod, "not_found", "there is no such method"));
    };
    match method.access {
        Access::Everyone => {}
        Access::Key => *client = authorized(server, *client, &head.headers)?,
        Access::Admin => repository::check_admin(server, &head.headers)?,
    }
    if method.access != Access::Everyone {
        match server.phase() {
            Phase::Loading => return Err(Refusal::unavailable("the models are being loaded")),
            Phase::Draining => return Err(Refusal::unavailable("the server is about to stop")),
            Phase::Ready | Phase::Leaving => {}
        }
    }
    let time = match head.headers.get("grpc-timeout") {
        Some(value) => grpc_timeout(value)?.min(server.config.max_deadline),
        None => deadline(server, &head.headers)?,
    };
    Ok((method, time))
}

/// Reads a time: at most eight digits and a unit.
fn grpc_timeout(value: &HeaderValue) -> Result<Duration> {
    let read = |text: &str| {
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8 && !digits.starts_with('+'))?;
        match unit {
            "H" => Some(Duration::from_secs(number * 3600)),
            "M" => Some(Duration::from_secs(number * 60)),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    };
    value.to_str().ok().and_then(read).ok_or_else(|| {
        let message =
            "grpc-timeout is no number of at most eight digits with one of the units H, M, S, m, u, n";
        Refusal::invalid("grpc-timeout", message)
    })
}

/// A request whose body has not been read.
struct Incomplete<'m> {
    headers: HeaderMap,
    body: Incoming,
    method: &'m Method,
    client: Client,
    start: Instant,
    time: Duration,
}

/// Reads the message within the limits and lets its method answer it.
async fn answer(server: &Arc<Server>, request: Incomplete<'_>, seen: &mut Seen) -> Result<Content> {
    let Incomplete { headers, body, method, client, start, time } = request;
    let most = method.most_bytes(&server.config);
    let part = match method.access {
        // As it came and unpacked, it has no more than this.
        Access::Everyone => Part::of(&Budget::new(4 * OPEN_BYTES)),
        Access::Key | Access::Admin => Part::of(&server.bodies),
    };
    let too_large = |refusal: Refusal| match refusal.kind {
        Kind::TooLarge if method.does != Does::Infer => {
            let message = format!("the message has more than {most} bytes, the most for this method");
            Refusal { message: message.into(), ..refusal }
        }
        _ => refusal,
    };
    let longest = if method.does == Does::Infer { most } else { most + FRAME_BYTES };
    let packed =
        read(&headers, body, (longest, part), server.config.body_timeout).await.map_err(too_large)?;
    let packed = packed.message(&headers)?;
    let long = !packed.is_plain() && most > SHORT_BODY;
    let (message, part) =
        off_thread(server, long, start + time, move || packed.unpack(most)).await.map_err(too_large)?;
    seen.bytes = message.len();
    let counted = Arc::new(part);
    let asked = Asked { client, began: start, deadline: time, long: message.len() > SHORT_BODY };
    let message = match method.does {
        Does::Live => service::server_live(message),
        Does::Ready => service::server_ready(server, message),
        Does::ModelReady => service::model_ready(server, message, seen),
        Does::Metadata => service::server_metadata(server, message),
        Does::ModelMetadata => service::model_metadata(server, message, seen),
        Does::Infer => service::model_infer(server, message, asked, &counted, seen).await,
        Does::Index => service::repository_index(server, message),
        Does::Load => service::repository_model_load(server, message, asked).await,
        Does::Unload => service::repository_model_unload(server, message, asked).await,
        Does::Check => health::check(server, message),
        Does::Watch => return health::watch(server, message),
    };
    message.map(Content::message)
}

/// Puts a message that is not packed into a frame.
///
/// # Errors
/// [`Kind::TooLarge`] for one whose length is none of a frame.
fn framed<M: Message>(message: &M) -> Result<Bytes> {
    let bytes = message.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| Refusal::too_large("the answer is too long for gRPC"))?;
    let mut frame = BytesMut::with_capacity(bytes + FRAME_BYTES);
    frame.put_u8(0);
    frame.put_u32(length);
    message.encode_raw(&mut frame);
    Ok(frame.freeze())
}

/// Headers of a request for which there are none, as dialects see them.
fn no_headers() -> HeaderMap {
    HeaderMap::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_grpc_have_a_unit() {
        let read = |text: &'static str| grpc_timeout(&HeaderValue::from_static(text)).ok();
        for (text, millis) in
            [("1H", 3_600_000), ("2M", 120_000), ("3S", 3000), ("4m", 4), ("99999999m", 99_999_999)]
        {
            assert_eq!(read(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("6n"), Some(Duration::from_nanos(6)));
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1SS"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
