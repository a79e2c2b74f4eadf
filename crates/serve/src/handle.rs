//! One request, from its head to its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode};
use tokio::sync::oneshot;

use crate::call::{Call, Reply, Run, Step, check_type};
use crate::config::Dialect;
use crate::connect::{Answer, Purpose, read};
use crate::dialect;
use crate::error::{Kind, Refusal, Result};
use crate::log::{Entry, millis};
use crate::metrics::{Labels, Took};
use crate::models::Served;
use crate::route::{self, Handler, Lookup, Route};
use crate::schedule::{Client, Outcome, Plan, Rejected};
use crate::state::{Phase, Server};
use crate::work::Found;

/// Bodies up to this length are read and tokenised at once: that takes less than a thread's turn.
const SHORT_BODY: usize = 4096;

/// What is known of a request so far, for its headers, the metrics and the log.
#[derive(Default)]
struct Seen {
    model: Option<Arc<Served>>,
    inputs: usize,
    sequences: usize,
    tokens: usize,
    bytes: usize,
    took: Took,
    /// How long the text took to become tokens.
    prepared: Duration,
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
    let start = Instant::now();
    // The exit code is about requests, not about those who ask whether the server lives.
    let open = (purpose == Purpose::Everything).then(|| Open::new(server));
    let (head, body) = request.into_parts();
    let id = request_id(&head.headers);
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
    let dialect = found.map_or_else(|| route::dialect_of(&path), |route| route.dialect);
    let mut seen = Seen::default();
    let mut client = client;
    let replied = match (found, lookup) {
        (Some(route), Ok(params)) => {
            let call = Incomplete { route, params, headers: head.headers, body };
            answer(server, &mut client, purpose, call, &mut seen).await
        }
        (_, Err(refusal)) => Err(refusal),
        (None, Ok(_)) => Err(Refusal::internal("the table of routes contradicts itself; please report it")),
    };
    seen.took.total = start.elapsed();
    let code = replied.as_ref().err().map_or("", |refusal| refusal.code);
    let draining = server.phase() == Phase::Draining;
    let (reply, retry_after, close) = match replied {
        Ok(reply) => (reply, None, draining),
        Err(refusal) => (dialect::refuse(dialect, &refusal), refusal.retry_after, refusal.close || draining),
    };
    let status = reply.status;
    seen.took.truncated = reply.truncated;
    report(server, found, &seen, status, code, (&id, client, &method));
    let mut response = respond(reply, dialect, &seen, &id);
    let headers = response.headers_mut();
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64));
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
    response.map(|body| body.keeping(open))
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
    if purpose == Purpose::Everything && !route.is_open() {
        *client = authorized(server, *client, &headers)?;
    }
    let handler = match route.handler {
        Handler::Live(reply) => return Ok(reply(true)),
        Handler::Ready(reply) => return Ok(reply(server.is_ready())),
        Handler::Metrics => {
            return Ok(Reply::new(200, "text/plain; version=0.0.4; charset=utf-8", server.metrics_text()));
        }
        Handler::Fixed(reply) => return Ok(reply()),
        Handler::Compute(handler) => handler,
    };
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
    let packed = read(&headers, body, config.max_body_bytes, config.body_timeout).await?;
    let (is_packed, most) = (!packed.is_plain(), config.max_body_bytes);
    let body = off_thread(server, is_packed, began + deadline, move || packed.unpack(most)).await?;
    seen.bytes = body.len();
    let long = body.len() > SHORT_BODY;
    let call = Call { headers, body, params, models: server.models(), config };
    if let Some(model) = call.param("model") {
        seen.model = call.models.get(model).cloned();
    }
    let read = Instant::now();
    let prepare = move || {
        guarded(|| {
            let most = call.config.max_windows;
            match handler(&call)? {
                Step::Reply(reply) => Ok(Prepared::Reply(reply)),
                Step::Run(Run { model, lane, jobs, inputs, deadline, render }) => {
                    let Some(plan) = Plan::new(lane, jobs, most) else {
                        let message = format!(
                            "the texts become more than {most} sequences (--max-windows); send less text"
                        );
                        return Err(Refusal::too_large(message));
                    };
                    if plan.sequences() == 0 {
                        return Err(Refusal::malformed(
                            "there is nothing to compute; send at least one text",
                        ));
                    }
                    Ok(Prepared::Run { model, plan, inputs, deadline, render })
                }
            }
        })
    };
    let prepared = off_thread(server, long, began + deadline, prepare).await?;
    seen.prepared = read.elapsed();
    let (model, plan, asked, render) = match prepared {
        Prepared::Reply(reply) => return Ok(reply),
        Prepared::Run { model, plan, inputs, deadline, render } => {
            (seen.inputs, seen.sequences, seen.tokens) = (inputs, plan.sequences(), plan.tokens());
            seen.model = Some(Arc::clone(&model));
            (model, plan, deadline, render)
        }
    };
    let asked = asked.map(|time| time.min(server.config.max_deadline));
    let deadline = began + asked.unwrap_or(deadline);
    let found = compute(server, *client, plan, deadline, seen).await?;
    let long = long || model.row_width() > SHORT_BODY || found.len() > 16;
    off_thread(server, long, deadline, move || guarded(|| render(found))).await
}

/// A request whose texts are tokens.
enum Prepared {
    Reply(Reply),
    Run {
        model: Arc<Served>,
        plan: Plan,
        inputs: usize,
        deadline: Option<Duration>,
        render: crate::call::Render,
    },
}

/// Runs a step, whose panic is a fault of this request only.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(Refusal::new(Kind::Internal, "panic", "the server failed on this request; please report it"))
    })
}

/// The deadline passed.
fn late() -> Refusal {
    Refusal::new(Kind::Late, "deadline_exceeded", "the deadline passed before the result was there")
}

/// Runs a step here if it is short, else on another thread, of which there are a few. The step owns its place
/// among them, so steps whose client has gone do not heap up; such a step does nothing.
async fn off_thread<T: Send + 'static>(
    server: &Server,
    long: bool,
    deadline: Instant,
    step: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if !long {
        return step();
    }
    let stops = || Refusal::unavailable("the server stops");
    let place = Arc::clone(&server.long_bodies).acquire_owned();
    let place = tokio::time::timeout_at(deadline.into(), place).await.map_err(|_| late())?;
    let place = place.map_err(|_| stops())?;
    let (sender, done) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _place = place;
        if !sender.is_closed() {
            // The client may go while the step runs.
            let _ = sender.send(step());
        }
    });
    // Without a result the step has panicked, or the server has no threads any more.
    done.await.unwrap_or_else(|_| Err(stops()))
}

/// Queues the jobs and waits for their results.
async fn compute(
    server: &Server,
    client: Client,
    plan: Plan,
    deadline: Instant,
    seen: &mut Seen,
) -> Result<Vec<Found>> {
    let mut ticket = match server.scheduler.submit(plan, client, deadline) {
        Ok(ticket) => ticket,
        Err(Rejected::Busy(wait)) => {
            let message = format!("too much is queued; expected wait {:.1} s", wait.as_secs_f64());
            let refusal = Refusal::new(Kind::Overloaded, "overloaded", message);
            return Err(Refusal { retry_after: Some(wait), ..refusal });
        }
        Err(Rejected::TooLong { tokens, limit }) => {
            let message =
                format!("the texts have {tokens} tokens; expected at most {limit} (--queue-tokens)");
            return Err(Refusal::too_large(message));
        }
        Err(Rejected::Late) => return Err(late()),
        Err(Rejected::Closed) => return Err(Refusal::unavailable("the server is about to stop").closing()),
    };
    let outcome = match tokio::time::timeout_at(deadline.into(), ticket.outcome()).await {
        Ok(outcome) => outcome,
        Err(_) => {
            ticket.give_up_late();
            return Err(late());
        }
    };
    match outcome {
        Outcome::Done(done) => {
            (seen.took.queued, seen.took.computed) = (done.queued, done.computed);
            Ok(done.found)
        }
        Outcome::Failed(error) => Err(error.into()),
        Outcome::Panicked => {
            Err(Refusal::new(Kind::Internal, "panic", "the model failed on this request; please report it"))
        }
        Outcome::Late => Err(late()),
        Outcome::Stopped => {
            server.left_unanswered.store(true, Ordering::Release);
            Err(Refusal::unavailable("the server stopped before the result was there").closing())
        }
    }
}

/// Returns whom the request counts for.
fn authorized(server: &Server, client: Client, headers: &HeaderMap) -> Result<Client> {
    let Some(keys) = server.keys() else { return Ok(client) };
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let key = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    match key.and_then(|key| keys.find(key)) {
        Some(number) => Ok(Client::Key(number)),
        None => {
            let message = "an API key is needed; send `authorization: Bearer KEY`";
            Err(Refusal::new(Kind::Unauthorized, "invalid_api_key", message).closing())
        }
    }
}

/// Returns the time that the request may take.
fn deadline(server: &Server, headers: &HeaderMap) -> Result<Duration> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let config = &server.config;
    match text("x-deadline-ms").map(str::parse::<u64>) {
        Some(Ok(millis)) if millis > 0 => return Ok(Duration::from_millis(millis).min(config.max_deadline)),
        Some(_) => {
            let message = "x-deadline-ms is not a whole number of milliseconds, at least 1";
            return Err(Refusal::invalid("x-deadline-ms", message).closing());
        }
        None => {}
    }
    // OpenAI's clients say how many seconds they wait, which is ten minutes unless somebody chose another
    // number. So it can only make the deadline earlier.
    let seconds = text("x-stainless-read-timeout").and_then(|seconds| seconds.parse::<f64>().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| !time.is_zero()).unwrap_or(config.deadline);
    Ok(time.min(config.deadline))
}

/// Returns the client's name for the request if it is a harmless one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let harmless =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(harmless).map_or_else(
        || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("{:x}-{:x}", now.as_micros(), NEXT.fetch_add(1, Ordering::Relaxed))
        },
        str::to_owned,
    )
}

fn respond(reply: Reply, dialect: Dialect, seen: &Seen, id: &str) -> Response<Answer> {
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

/// Counts the request and writes its line.
fn report(
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
