//! One request of gRPC, from its head to its answer. Limits, keys, deadlines and the queue are those of HTTP.

mod health;
mod service;
mod status;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tonic::codegen::Service as _;
use tonic::server::NamedService as _;
use tonic_health::pb::health_server::HealthServer;

use super::answer::{Place, describe, report, trace_end};
use super::head::{authorized, check_host, deadline, request_id};
use super::run::{Asked, SHORT_BODY, off_thread};
use super::{Open, SHORT_ANSWER, Seen, repository};
use crate::budget::Part;
use crate::connect::{Kept, Purpose, read};
use crate::dialect::oip;
use crate::error::{Kind, Refusal, Result};
use crate::messages::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::schedule::{Client, lock};
use crate::state::{Phase, Server};
use health::Health;
use service::Inference;
use status::status;

/// The name of gRPC in the metrics and in the log.
const DIALECT: &str = "grpc";

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Everyone,
    Key,
    Admin,
}

/// A method.
#[derive(Debug, Clone, Copy)]
struct Method {
    path: &'static str,
    /// The task in the metrics.
    task: &'static str,
    access: Access,
}

const fn method(path: &'static str, task: &'static str, access: Access) -> Method {
    Method { path, task, access }
}

/// All methods.
const METHODS: &[Method] = &[
    method("/inference.GRPCInferenceService/ServerLive", "health", Access::Everyone),
    method("/inference.GRPCInferenceService/ServerReady", "health", Access::Everyone),
    method("/inference.GRPCInferenceService/ModelReady", "health", Access::Key),
    method("/inference.GRPCInferenceService/ServerMetadata", "about", Access::Key),
    method("/inference.GRPCInferenceService/ModelMetadata", "about", Access::Key),
    method(INFER, "infer", Access::Key),
    method("/inference.GRPCInferenceService/RepositoryIndex", "repository", Access::Admin),
    method("/inference.GRPCInferenceService/RepositoryModelLoad", "repository", Access::Admin),
    method("/inference.GRPCInferenceService/RepositoryModelUnload", "repository", Access::Admin),
    method("/grpc.health.v1.Health/Check", "health", Access::Everyone),
    method(WATCH, "health", Access::Everyone),
];

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// The services of a connection.
#[derive(Clone)]
pub(crate) struct Services {
    inference: GrpcInferenceServiceServer<Inference>,
    health: HealthServer<Health>,
}

impl Services {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let most = server.config.max_body_bytes;
        let inference = GrpcInferenceServiceServer::new(Inference(Arc::clone(server)));
        Self {
            inference: inference.max_decoding_message_size(most),
            health: HealthServer::new(Health(Arc::clone(server))),
        }
    }
}

/// What the services get to know of a request, and what they tell about its answer.
#[derive(Debug)]
struct Context {
    asked: Asked,
    counted: Arc<Part>,
    told: Mutex<Told>,
}

/// What is known of an answer.
#[derive(Debug)]
struct Told {
    seen: Seen,
    /// The code of the refusal, and the status that HTTP has for it.
    refused: Option<(&'static str, u16)>,
    /// The bytes of the answer, and the memory that they take of what all answers may.
    bytes: usize,
    kept: Part,
}

impl Context {
    /// Notes what a request came to, and makes the answer of it.
    fn answer<M: prost::Message>(
        &self,
        seen: Seen,
        result: Result<M>,
    ) -> Result<tonic::Response<M>, tonic::Status> {
        let mut told = lock(&self.told);
        told.seen = seen;
        let result = result.and_then(|message| {
            told.bytes = message.encoded_len();
            if told.bytes > SHORT_ANSWER {
                let bytes = told.bytes;
                told.kept.grow(bytes)?;
            }
            Ok(message)
        });
        result.map(tonic::Response::new).map_err(|refusal| {
            told.refused = Some((refusal.code, refusal.kind.status()));
            status(&refusal)
        })
    }
}

/// Answers a request.
pub(crate) async fn handle(
    server: &Arc<Server>,
    client: Client,
    services: Services,
    request: Request<Incoming>,
) -> Response<Kept> {
    let start = Instant::now();
    let open = Open::new(server);
    let (head, body) = request.into_parts();
    let id = request_id(&head.headers);
    let trace = server.traces.as_ref().and_then(|traces| traces.begin(&head.headers));
    let method = METHODS.iter().find(|method| method.path == head.uri.path());
    let mut client = client;
    let answered = match check(server, &mut client, &head, method) {
        Ok((method, time)) => {
            let request = Incomplete { head, body, method, client, start, time };
            answer(server, services, request).await
        }
        Err(refusal) => Err(refusal),
    };
    let (mut response, context) = match answered {
        Ok((response, context)) => (response, Some(context)),
        Err(refusal) => (refuse(&refusal), None),
    };
    let mut seen = Seen::default();
    let (mut refused, mut bytes) = (response.extensions_mut().remove::<Refused>(), 0);
    if let Some(context) = &context {
        let mut told = lock(&context.told);
        seen = std::mem::take(&mut told.seen);
        refused = told.refused.map(|(code, status)| Refused(code, status));
        bytes = told.bytes;
    }
    let is_refused = |value: &HeaderValue| value != "0";
    if refused.is_none() && response.headers().get("grpc-status").is_some_and(is_refused) {
        // The message is none, or the service has no such method.
        refused = Some(Refused("malformed", 400));
    }
    seen.took.total = start.elapsed();
    let Refused(code, status) = refused.unwrap_or(Refused("", 200));
    let place = Place {
        route: method.map_or("none", |method| method.path),
        task: method.map_or("none", |method| method.task),
        dialect: DIALECT,
    };
    report(server, place, &seen, status, code, (&id, client, "POST"));
    describe(response.headers_mut(), &seen, &id);
    trace_end(server, trace, start, place, &mut seen, status, (&id, "POST"));
    let is_endless = method.is_some_and(|method| method.path == WATCH);
    response.map(|body| Kept::new(body, Some(bytes).filter(|_| !is_endless), (open, context)))
}

/// The code of a refusal, and the status that HTTP has for it.
#[derive(Debug, Clone, Copy)]
struct Refused(&'static str, u16);

fn refuse(refusal: &Refusal) -> Response<tonic::body::Body> {
    let mut response = match refusal.code {
        // Whoever sends another type speaks no gRPC.
        "unsupported_media_type" => {
            let mut response = Response::new(tonic::body::Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            response
        }
        _ => status(refusal).into_http(),
    };
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,deflate"));
    response.extensions_mut().insert(Refused(refusal.code, refusal.kind.status()));
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
    head: hyper::http::request::Parts,
    body: Incoming,
    method: &'m Method,
    client: Client,
    start: Instant,
    time: Duration,
}

/// Reads the body within the limits and hands it to its service.
async fn answer(
    server: &Arc<Server>,
    mut services: Services,
    request: Incomplete<'_>,
) -> Result<(Response<tonic::body::Body>, Arc<Context>)> {
    let Incomplete { mut head, body, method, client, start, time } = request;
    let config = &server.config;
    let limits = (config.max_body_bytes, Part::of(&server.bodies));
    let packed = read(&head.headers, body, limits, config.body_timeout).await?.message(&head.headers)?;
    let (is_packed, most) = (!packed.is_plain(), config.max_body_bytes);
    let (message, part) = off_thread(server, is_packed, start + time, move || packed.unpack(most)).await?;
    if method.path == INFER {
        oip::grpc::check_size(&message)?;
    }
    let asked = Asked { client, began: start, deadline: time, long: message.len() > SHORT_BODY };
    let seen = Seen { bytes: message.len(), ..Seen::default() };
    let told = Told { seen, refused: None, bytes: 0, kept: Part::of(&server.bodies) };
    let context = Arc::new(Context { asked, counted: Arc::new(part), told: Mutex::new(told) });
    head.headers.remove("grpc-encoding");
    head.extensions.insert(Arc::clone(&context));
    let request = Request::from_parts(head, Full::new(framed(&message)?));
    let is_health = method.path.trim_start_matches('/').starts_with(HealthServer::<Health>::NAME);
    let response = match is_health {
        true => services.health.call(request).await,
        false => services.inference.call(request).await,
    };
    // There are no errors of this type.
    let response = response.unwrap_or_else(|never| match never {});
    Ok((response, context))
}

/// Puts a message that is not packed into a frame.
fn framed(message: &[u8]) -> Result<Bytes> {
    let length = u32::try_from(message.len()).map_err(|_| Refusal::too_large("the message is too long"))?;
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
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
