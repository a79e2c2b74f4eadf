//! One request, from its head to its answer.

mod answer;
#[cfg(feature = "grpc")]
pub(crate) mod grpc;
mod head;
mod repository;
mod run;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, HeaderMap, HeaderValue,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Request, Response};

use crate::budget::Part;
use crate::call::{Call, JSON, Reply, check_type};
use crate::config::Dialect;
use crate::connect::{Answer, Purpose, read};
use crate::dialect;
use crate::error::{Kind, Refusal, Result};
use crate::metrics::Took;
use crate::models::Served;
use crate::route::{self, Handler, Lookup, Route};
use crate::schedule::Client;
use crate::state::{Phase, Server};
use crate::trace::Span;
use answer::{Place, Record, respond, share};
use head::{allowed_origin, authorized, check_host, deadline};
use run::{Asked, SHORT_BODY, off_thread, run};

/// Answers up to this length do not count in the memory for bodies. A connection's buffers take more.
const SHORT_ANSWER: usize = 16 << 10;

/// What is known of a request so far, for its headers, the metrics and the log.
#[derive(Debug, Default)]
struct Seen {
    model: Option<Arc<Served>>,
    inputs: usize,
    sequences: usize,
    tokens: usize,
    bytes: usize,
    took: Took,
    /// How long the text took to become tokens.
    prepared: Duration,
    /// Parts of its time, for traces.
    steps: Vec<Span>,
}

impl Seen {
    fn step(&mut self, name: &'static str, began: Instant, took: Duration) {
        self.steps.push(Span { name, began, took });
    }
}

/// Counts a request as open until its answer has been written.
#[derive(Debug)]
struct Open(Arc<Server>);

impl Open {
    fn new(server: &Arc<Server>) -> Self {
        server.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(server))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers a request.
pub(crate) async fn handle(
    server: &Arc<Server>,
    client: Client,
    purpose: Purpose,
    request: Request<Incoming>,
) -> Response<Answer> {
    // The exit code is about requests, not about those who ask whether the server lives.
    let open = (purpose == Purpose::Everything).then(|| Open::new(server));
    let (head, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let (method, path) = (head.method.as_str().to_owned(), head.uri.path().to_owned());
    let lookup = route::find(&method, &path, &server.config.dialects);
    let (found, lookup) = match lookup {
        Lookup::Found(route, params) => (Some(route), Ok(params)),
        Lookup::WrongMethod(route, methods) => {
            let message = format!("this route takes {}", methods.join(" and "));
            (Some(route), Err(Refusal::new(Kind::WrongMethod, "wrong_method", message)))
        }
        Lookup::Nothing => {
            let message = "there is no such route; GET /openapi.json lists all";
            (None, Err(Refusal::new(Kind::NotFound, "not_found", message)))
        }
    };
    let origin = allowed_origin(server, &head.headers);
    let asks_for = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_preflight = method == "OPTIONS"
        && origin.is_some()
        && found.is_some()
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let dialect = found.map_or_else(|| route::dialect_of(&path), |route| route.dialect);
    let mut record = Record::new(server, &head, client, Place::of(found));
    record.is_tei = found.is_some_and(|route| route.dialect == Dialect::Tei && route.is_about_texts());
    let replied = match (check_host(server, purpose, &head), found, lookup) {
        (Err(refusal), ..) => Err(refusal),
        _ if is_preflight => Ok(Reply::new(204, JSON, "")),
        (_, Some(route), Ok(params)) => {
            let call = Incomplete { route, params, headers: head.headers, body };
            answer(server, &mut record.client, purpose, call, &mut record.seen).await
        }
        (_, _, Err(refusal)) => Err(refusal),
        (_, None, Ok(_)) => {
            Err(Refusal::internal("the table of routes contradicts itself; please report it"))
        }
    };
    // A client that takes its time keeps the answer in memory, so it counts until the last byte is written.
    let mut kept = Part::of(&server.bodies);
    let replied = replied.and_then(|reply| match reply.body.len() {
        length if length > SHORT_ANSWER => kept.grow(length).map(|()| reply),
        _ => Ok(reply),
    });
    let code = replied.as_ref().err().map_or("", |refusal| refusal.code);
    let draining = server.phase() == Phase::Draining;
    let leaves_unread = has_body && replied.as_ref().is_err_and(|refusal| refusal.close);
    let (reply, retry_after, close) = match replied {
        Ok(reply) => (reply, None, draining),
        Err(refusal) => {
            let refusal = refusal.shortened();
            (dialect::refuse(dialect, &refusal), refusal.retry_after, refusal.close || draining)
        }
    };
    let status = reply.status;
    record.end(status, code);
    let mut response = respond(reply, dialect, &record.seen, &record.id);
    let headers = response.headers_mut();
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64));
    }
    if let Some(origin) = origin {
        let asks_for = asks_for.unwrap_or(HeaderValue::from_static("content-type"));
        share(headers, origin, Some(asks_for).filter(|_| is_preflight));
    }
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(route) = found.filter(|_| status == 405) {
        headers.insert(hyper::header::ALLOW, HeaderValue::from_static(route.method.name()));
    }
    response.map(|body| {
        let body = body.keeping((open, kept));
        if leaves_unread { body.leaving_unread() } else { body }
    })
}

/// A request whose body has not been read.
struct Incomplete {
    route: &'static Route,
    params: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Incoming,
}

async fn answer(
    server: &Arc<Server>,
    client: &mut Client,
    purpose: Purpose,
    request: Incomplete,
    seen: &mut Seen,
) -> Result<Reply> {
    let Incomplete { route, params, headers, body } = request;
    if purpose == Purpose::Health && !route.is_about_health() {
        return Err(Refusal::new(
            Kind::NotFound,
            "not_found",
            "this address answers for health and metrics only",
        ));
    }
    if matches!(route.handler, Handler::Repository(_)) {
        repository::check_admin(server, &headers)?;
    } else if purpose == Purpose::Everything && !route.is_open() {
        *client = authorized(server, *client, &headers)?;
    }
    match route.handler {
        Handler::Live(reply) => return Ok(reply(true)),
        Handler::Ready(reply) => return Ok(reply(server.is_ready())),
        Handler::Metrics => {
            return Ok(Reply::new(200, "text/plain; version=0.0.4; charset=utf-8", server.metrics_text()));
        }
        Handler::Fixed(reply) => return Ok(reply()),
        Handler::Repository(_) | Handler::Compute(_) => {}
    }
    match server.phase() {
        Phase::Loading => return Err(Refusal::unavailable("the models are being loaded").closing()),
        Phase::Draining => return Err(Refusal::unavailable("the server is about to stop").closing()),
        Phase::Ready | Phase::Leaving => {}
    }
    let deadline = deadline(server, &headers)?;
    let began = Instant::now();
    if route.method == route::Method::Post {
        check_type(&headers, route.binary).map_err(Refusal::closing)?;
    }
    let config = Arc::clone(&server.config);
    let limits = (config.max_body_bytes, Part::of(&server.bodies));
    let packed = read(&headers, body, limits, config.body_timeout).await?;
    let (is_packed, most) = (!packed.is_plain(), config.max_body_bytes);
    let unpack = move || packed.unpack(most);
    let until = began + deadline;
    let (body, counted) = off_thread(server, is_packed, until, unpack).await?;
    // The texts of the body are kept until the answer is made, so the memory counts until then, also in a
    // step for which nobody waits any more.
    let counted = Arc::new(counted);
    seen.bytes = body.len();
    let handler = match route.handler {
        Handler::Compute(handler) => handler,
        Handler::Repository(change) => {
            let name = params.into_iter().next().map(|(_, name)| name);
            return repository::change(server, change, (name, body), until).await;
        }
        _ => return Err(Refusal::internal("the route has no handler; please report it")),
    };
    let long = body.len() > SHORT_BODY;
    let call = Call { headers, body, params, models: server.models(), config };
    if let Some(model) = call.param("model") {
        seen.model = call.models.get(model).cloned();
    }
    let asked = Asked { client: *client, began, deadline, long };
    let reply = run(server, asked, &counted, move || handler(&call), seen).await?;
    seen.took.truncated = reply.truncated;
    Ok(reply)
}
