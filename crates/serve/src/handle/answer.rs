//! The answer to a request: its headers, its line of the log, and its place in the metrics.

use std::time::Duration;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    VARY,
};
use hyper::{Response, StatusCode};

use super::Seen;
use crate::call::Reply;
use crate::config::Dialect;
use crate::connect::Answer;
use crate::log::{Entry, millis};
use crate::metrics::{Asked, Labels, Took};
use crate::route::Route;
use crate::schedule::Client;
use crate::state::Server;

/// Makes the answer, with the headers that all answers have.
pub(super) fn respond(reply: Reply, dialect: Dialect, seen: &Seen, id: &str) -> Response<Answer> {
    let Reply { status, content_type, body, headers: extra, .. } = reply;
    let mut response = Response::new(Answer::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-request-id", id.to_owned());
    if let Some(model) = &seen.model {
        put("x-model", model.name.clone());
        put("x-model-sha", model.sha.clone());
    }
    if seen.took.computed > Duration::ZERO {
        put("x-queue-ms", millis(seen.took.queued).to_string());
        put("x-compute-ms", millis(seen.took.computed).to_string());
        put("x-tokens", seen.tokens.to_string());
        if dialect == Dialect::Tei {
            put("x-compute-type", "cpu".to_owned());
            for (name, time) in [
                ("x-total-time", seen.took.total),
                ("x-compute-time", seen.took.total),
                ("x-tokenization-time", seen.prepared),
                ("x-queue-time", seen.took.queued),
                ("x-inference-time", seen.took.computed),
            ] {
                put(name, time.as_millis().to_string());
            }
            put("x-compute-characters", seen.bytes.to_string());
            put("x-compute-tokens", seen.tokens.to_string());
        }
    }
    extra.into_iter().for_each(|(name, value)| put(name, value));
    response
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

/// Counts the request and writes its line.
pub(super) fn report(
    server: &Server,
    route: Option<&Route>,
    seen: &Seen,
    status: u16,
    code: &'static str,
    (id, client, method): (&str, Client, &str),
) {
    let model = seen.model.as_ref().map_or("", |model| &model.name);
    let dialect = route.map_or("none", |route| route.dialect.name());
    let labels = Labels { model: model.to_owned(), task: route.map_or("none", |route| route.task), dialect };
    server.metrics.answered(labels, status, seen.took);
    if !code.is_empty() {
        server.metrics.refused(code);
    }
    if route.is_some_and(|route| route.dialect == Dialect::Tei && route.is_about_texts()) {
        let Took { total, queued, computed, .. } = seen.took;
        let (inputs, tokens, prepared) = (seen.inputs, seen.tokens, seen.prepared);
        server.metrics.tei(Asked { status, inputs, tokens, total, prepared, queued, computed });
    }
    // A method may be any word that a client chooses; the log has only names that are known.
    let method = match method {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" => method,
        _ => "OTHER",
    };
    server.log.request(&Entry {
        id,
        client: &match client {
            Client::Key(number) => format!("key-{number}"),
            Client::Address(address) => address.to_string(),
            Client::Local => "local".to_owned(),
        },
        method,
        route: route.map_or("none", |route| route.pattern),
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
