//! Spans -> JSON -> a collector.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Attribute, Span, Trace, Traced};

/// Spans are sent when so many requests wait, or after this time.
const BATCH: (u64, Duration) = (256, Duration::from_secs(1));

/// How long the collector may take to be reached, to take what is sent, and to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of its answer that are read.
const MOST_ANSWER: u64 = 64 << 10;

/// The kinds of spans: part of a program, and a request that a server got.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;

/// The status of a span whose request failed.
const FAILED: u8 = 2;

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Send {
        traced: Traced,
        /// The parts of its time, with the numbers of their spans.
        steps: Vec<(u64, Span)>,
        /// The same moment on both clocks.
        now: (Instant, SystemTime),
    },
    /// Send all that came before, and answer.
    Tell(SyncSender<()>),
}

/// Where spans are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port.
    authority: String,
    path: String,
}

impl Endpoint {
    /// Reads `http://HOST:PORT`, with or without a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let (host, port) = authority.rsplit_once(':')?;
        let is_good = !host.is_empty() && port.parse::<u16>().is_ok() && !authority.contains('@');
        let path = if path.trim_end_matches('/').is_empty() { "/v1/traces" } else { path };
        (is_good && plain(text)).then(|| Self { authority: authority.to_owned(), path: path.to_owned() })
    }
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Exporter {
    endpoint: Endpoint,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    pub(super) fn new(endpoint: Endpoint, lost: Arc<AtomicU64>) -> Self {
        Self { endpoint, lost }
    }

    /// Runs until nobody can give orders any more.
    pub(super) fn run(&self, orders: &Receiver<Order>) {
        let (mut spans, mut requests, mut due) = (Vec::new(), 0_u64, None::<Instant>);
        loop {
            let order = match due {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut told = None;
            match &order {
                Ok(Order::Send { traced, steps, now }) => {
                    write(traced, steps, *now, &mut spans);
                    requests += 1;
                    due.get_or_insert_with(|| Instant::now() + BATCH.1);
                }
                Ok(Order::Tell(done)) => told = Some(done),
                Err(_) => {}
            }
            let is_due = due.is_some_and(|due| due <= Instant::now()) || requests >= BATCH.0;
            if requests > 0 && (is_due || told.is_some() || order.is_err()) {
                if self.send(std::mem::take(&mut spans)).is_err() {
                    self.lost.fetch_add(requests, Ordering::Relaxed);
                }
                (requests, due) = (0, None);
            }
            if let Some(done) = told {
                // Whoever asked may not wait any more.
                let _ = done.try_send(());
            }
            if matches!(order, Err(RecvTimeoutError::Disconnected)) {
                return;
            }
        }
    }

    /// Sends spans on a connection of their own.
    fn send(&self, spans: Vec<Value>) -> io::Result<()> {
        let Endpoint { authority, path } = &self.endpoint;
        let version = env!("CARGO_PKG_VERSION");
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": [
                text("service.name", "mobilebert-serve"),
                text("service.version", version),
            ]},
            "scopeSpans": [{"scope": {"name": "mobilebert-serve", "version": version}, "spans": spans}],
        }]})
        .to_string();
        let address = authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut status = String::new();
        BufReader::new(stream.take(MOST_ANSWER)).read_line(&mut status)?;
        match status.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Writes the spans of a request.
fn write(traced: &Traced, steps: &[(u64, Span)], now: (Instant, SystemTime), spans: &mut Vec<Value>) {
    let Traced { trace: Trace { id, span, parent }, name, began, took, attributes, failed, .. } = traced;
    // A moment in nanoseconds since 1970. They are texts in this protocol, because JSON's numbers are too coarse.
    let nanos = |moment: Instant| {
        let past = now.0.saturating_duration_since(moment);
        let since = now.1.checked_sub(past).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.unwrap_or_default().as_nanos().to_string()
    };
    let attributes = attributes.iter().map(|(key, value)| {
        let value = match value {
            Attribute::Text(text) => json!({"stringValue": text}),
            Attribute::Number(number) => json!({"intValue": number.to_string()}),
        };
        json!({"key": key, "value": value})
    });
    let mut whole = json!({
        "traceId": format!("{id:032x}"),
        "spanId": format!("{span:016x}"),
        "name": name,
        "kind": SERVER,
        "startTimeUnixNano": nanos(*began),
        "endTimeUnixNano": nanos(*began + *took),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    if let Some(parent) = parent {
        whole["parentSpanId"] = format!("{parent:016x}").into();
    }
    if *failed {
        whole["status"] = json!({"code": FAILED});
    }
    spans.push(whole);
    spans.extend(steps.iter().map(|(number, step)| {
        json!({
            "traceId": format!("{id:032x}"),
            "spanId": format!("{number:016x}"),
            "parentSpanId": format!("{span:016x}"),
            "name": step.name,
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(step.began),
            "endTimeUnixNano": nanos(step.began + step.took),
        })
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let of = |authority: &str, path: &str| {
            Some(Endpoint { authority: authority.to_owned(), path: path.to_owned() })
        };
        assert_eq!(Endpoint::parse("http://localhost:4318"), of("localhost:4318", "/v1/traces"));
        assert_eq!(Endpoint::parse("http://[::1]:4318/"), of("[::1]:4318", "/v1/traces"));
        assert_eq!(Endpoint::parse("http://a.b:1/otlp/v1/traces"), of("a.b:1", "/otlp/v1/traces"));
        for text in [
            "",
            "localhost:4318",
            "https://a:1",
            "http://a",
            "http://:1",
            "http://a:b",
            "http://u@a:1",
            "http://a:1/x y",
            "http://a:1/\r\nx",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
