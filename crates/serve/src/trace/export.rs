//! Spans -> JSON -> a collector.

use std::cell::RefCell;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Attribute, Span, Trace, Traced};

/// Spans are sent when so many requests wait, or after this time.
const BATCH: (u64, Duration) = (256, Duration::from_secs(1));

/// How long it may take to find and to reach the collector, until it has taken what is sent and has answered.
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
    /// What becomes of looking the host up, if that takes longer than a sending may.
    looking: RefCell<Option<Receiver<io::Result<Vec<SocketAddr>>>>>,
}

impl Exporter {
    pub(super) fn new(endpoint: Endpoint, lost: Arc<AtomicU64>) -> Self {
        Self { endpoint, lost, looking: RefCell::default() }
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
        let until = Instant::now() + PATIENCE;
        let mut stream = Timed { stream: connect(&self.addresses(until)?, until)?, until };
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

    /// Looks the host up. The system takes any time for that, so it does it on a thread of its own, of which
    /// there is one at most.
    fn addresses(&self, until: Instant) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.endpoint.authority.parse() {
            return Ok(vec![address]);
        }
        let mut looking = self.looking.borrow_mut();
        let found = match looking.take() {
            Some(found) => found,
            None => {
                let (sender, found) = mpsc::sync_channel(1);
                let authority = self.endpoint.authority.clone();
                let look = move || {
                    // Nobody waits for it if the server has stopped.
                    let _ = sender.send(authority.to_socket_addrs().map(Iterator::collect));
                };
                std::thread::Builder::new().name("resolve".to_owned()).spawn(look)?;
                found
            }
        };
        match found.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(addresses) => addresses,
            Err(RecvTimeoutError::Timeout) => {
                *looking = Some(found);
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Connects to the first address that answers. A name may have some of which nobody listens on.
fn connect(addresses: &[SocketAddr], until: Instant) -> io::Result<TcpStream> {
    let mut problem = io::ErrorKind::NotFound.into();
    for (i, address) in addresses.iter().enumerate() {
        // One that does not answer leaves time for the others.
        let share = left(until)? / u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// Returns the time that is left.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A stream on which all that is read and written has to be done at a time.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl io::Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(bytes)
    }
}

impl io::Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
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

    #[test]
    fn all_addresses_of_a_host_are_tried() {
        let [free, taken] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let nobody = free.local_addr().unwrap();
        drop(free);
        let until = Instant::now() + PATIENCE;
        let addresses = [nobody, taken.local_addr().unwrap()];
        assert!(connect(&addresses[..1], until).is_err());
        let stream = connect(&addresses, until).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        assert!(connect(&addresses, Instant::now()).is_err());
    }

    #[test]
    fn a_sending_has_one_end() {
        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let until = Instant::now() + Duration::from_millis(300);
        let stream = connect(&[collector.local_addr().unwrap()], until).unwrap();
        // It gives a byte now and then, which is no answer.
        std::thread::spawn(move || {
            let mut other = collector.accept().unwrap().0;
            while other.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let start = Instant::now();
        let mut line = String::new();
        assert!(BufReader::new(Timed { stream, until }).read_line(&mut line).is_err());
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
