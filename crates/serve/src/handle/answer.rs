//! The answer to a request: its headers, its line of the log, and its place in the metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    VARY,
};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::Seen;
use super::head::request_id;
use crate::call::Reply;
use crate::config::Dialect;
use crate::connect::Answer;
use crate::log::{Entry, millis};
use crate::metrics::{Asked, Labels, Took};
use crate::route::Route;
use crate::schedule::Client;
use crate::state::Server;
use crate::trace::{Attribute, Trace, Traced};

/// Makes the answer, with the headers that all answers have.
pub(super) fn respond(reply: Reply, dialect: Dialect, seen: &Seen, id: &str) -> Response<Answer> {
    let Reply { status, content_type, body, headers: extra, .. } = reply;
    let mut response = Response::new(Answer::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    describe(headers, seen, id);
    if dialect == Dialect::Tei && seen.took.computed > Duration::ZERO {
        put(headers, "x-compute-type", "cpu");
        for (name, time) in [
            ("x-total-time", seen.took.total),
            ("x-compute-time", seen.took.total),
            ("x-tokenization-time", seen.prepared),
            ("x-queue-time", seen.took.queued),
            ("x-inference-time", seen.took.computed),
        ] {
            put(headers, name, &time.as_millis().to_string());
        }
        put(headers, "x-compute-characters", &seen.bytes.to_string());
        put(headers, "x-compute-tokens", &seen.tokens.to_string());
    }
    extra.iter().for_each(|(name, value)| put(headers, name, value));
    response
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Writes the headers about what was computed, which are the same on every wire.
pub(super) fn describe(headers: &mut HeaderMap, seen: &Seen, id: &str) {
    put(headers, "x-request-id", id);
    if let Some(model) = &seen.model {
        put(headers, "x-model", &model.name);
        put(headers, "x-model-sha", &model.sha);
    }
    if seen.took.computed > Duration::ZERO {
        put(headers, "x-queue-ms", &millis(seen.took.queued).to_string());
        put(headers, "x-compute-ms", &millis(seen.took.computed).to_string());
        put(headers, "x-tokens", &seen.tokens.to_string());
    }
}

/// Lets the pages of an origin read the answer. With `asks_for`, they may send these headers too.
pub(super) fn share(headers: &mut HeaderMap, origin: HeaderValue, asks_for: Option<HeaderValue>) {
    let fixed = HeaderValue::from_static;
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(VARY, fixed("origin"));
    let ours = "x-request-id, x-model, x-model-sha, x-queue-ms, x-compute-ms, x-tokens, retry-after";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, fixed(ours));
    if let Some(asks_for) = asks_for {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST"));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asks_for);
        headers.insert(ACCESS_CONTROL_MAX_AGE, fixed("600"));
    }
}

/// What a request was for, in the metrics and in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The pattern of its route.
    pub(super) route: &'static str,
    pub(super) task: &'static str,
    pub(super) dialect: &'static str,
}

impl Place {
    pub(super) fn of(route: Option<&'static Route>) -> Self {
        match route {
            Some(route) => Self { route: route.pattern, task: route.task, dialect: route.dialect.name() },
            None => Self { route: "none", task: "none", dialect: "none" },
        }
    }
}

/// The status of a request whose client did not wait for the answer, in the log and in the metrics.
const GONE: u16 = 499;

/// A request that is counted, gets its line of the log and is traced, in any case: when it has its answer, or
/// when this is dropped because nobody waits for one any more.
pub(super) struct Record {
    server: Arc<Server>,
    pub(super) id: String,
    method: String,
    pub(super) client: Client,
    place: Place,
    /// True if the metrics of text-embeddings-inference count it too.
    pub(super) is_tei: bool,
    trace: Option<Trace>,
    pub(super) start: Instant,
    pub(super) seen: Seen,
    is_ended: bool,
}

impl Record {
    /// Begins with the head.
    pub(super) fn new(server: &Arc<Server>, head: &Parts, client: Client, place: Place) -> Self {
        Self {
            server: Arc::clone(server),
            id: request_id(&head.headers),
            method: known_method(head.method.as_str()).to_owned(),
            client,
            place,
            is_tei: false,
            trace: server.traces.as_ref().and_then(|traces| traces.begin(&head.headers)),
            start: Instant::now(),
            seen: Seen::default(),
            is_ended: false,
        }
    }

    /// Counts the request, writes its line and sends its spans.
    pub(super) fn end(&mut self, status: u16, code: &'static str) {
        self.is_ended = true;
        self.seen.took.total = self.start.elapsed();
        self.report(status, code);
        if self.is_tei {
            let Took { total, queued, computed, .. } = self.seen.took;
            let (inputs, tokens, prepared) = (self.seen.inputs, self.seen.tokens, self.seen.prepared);
            self.server.metrics.tei(Asked { status, inputs, tokens, total, prepared, queued, computed });
        }
        self.trace_end(status);
    }

    fn report(&self, status: u16, code: &'static str) {
        let Place { route, task, dialect } = self.place;
        let (server, seen) = (&self.server, &self.seen);
        let model = seen.model.as_ref().map_or("", |model| &model.name);
        server.metrics.answered(Labels { model: model.to_owned(), task, dialect }, status, seen.took);
        // Nobody refused a request whose client has gone.
        if !code.is_empty() && status != GONE {
            server.metrics.refused(code);
        }
        server.log.request(&Entry {
            id: &self.id,
            client: &match self.client {
                Client::Key(number) => format!("key-{number}"),
                Client::Address(address) => address.to_string(),
                Client::Local => "local".to_owned(),
            },
            method: &self.method,
            route,
            dialect,
            model,
            status,
            code,
            inputs: seen.inputs,
            sequences: seen.sequences,
            tokens: seen.tokens,
            bytes: seen.bytes,
            queue_ms: millis(seen.took.queued),
            compute_ms: millis(seen.took.computed),
            total_ms: millis(seen.took.total),
        });
    }

    /// Sends the spans of a request that is traced. Texts are never in them.
    fn trace_end(&mut self, status: u16) {
        let (Some(traces), Some(trace)) = (&self.server.traces, self.trace.take()) else { return };
        let text = |text: &str| Attribute::Text(text.to_owned());
        let number = |number: usize| Attribute::Number(number as u64);
        let mut attributes = vec![
            ("http.request.method", text(&self.method)),
            ("http.route", text(self.place.route)),
            ("http.response.status_code", number(usize::from(status))),
            ("mobilebert.dialect", text(self.place.dialect)),
            ("mobilebert.request_id", text(&self.id)),
        ];
        let seen = &mut self.seen;
        if let Some(model) = &seen.model {
            attributes.push(("mobilebert.model", text(&model.name)));
            attributes.push(("mobilebert.model_sha", text(&model.sha)));
            attributes.push(("mobilebert.inputs", number(seen.inputs)));
            attributes.push(("mobilebert.sequences", number(seen.sequences)));
            attributes.push(("mobilebert.tokens", number(seen.tokens)));
        }
        traces.end(Traced {
            trace,
            name: format!("{} {}", self.method, self.place.route),
            began: self.start,
            took: self.start.elapsed(),
            steps: std::mem::take(&mut seen.steps),
            attributes,
            failed: status >= 500,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_ended {
            self.end(GONE, "gone");
        }
    }
}

/// A method may be any word that a client chooses; logs and traces have only names that are known.
fn known_method(method: &str) -> &str {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" => method,
        _ => "OTHER",
    }
}
