//! Traces: where the time of a request went, as spans that are sent to a collector of OpenTelemetry.
//!
//! They are written in the JSON form of its protocol and sent by a thread of its own over plain HTTP, so no
//! request waits for a collector, and this needs no further crates. What the thread cannot take is counted
//! and lost.

mod export;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderMap;

use export::{Endpoint, Exporter, Order};

/// The number of requests whose spans may wait to be sent.
const WAITING: usize = 2048;

/// What sends spans.
#[derive(Debug)]
pub(crate) struct Traces {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
    /// The share of requests that are traced if they do not say so themselves.
    ratio: f64,
    random: RandomState,
    next: AtomicU64,
}

/// A request that is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    id: u128,
    span: u64,
    parent: Option<u64>,
}

/// A part of a request's time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
}

/// A value that describes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attribute {
    Text(String),
    Number(u64),
}

/// A request that has been answered.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) trace: Trace,
    /// The method and the route.
    pub(crate) name: String,
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    pub(crate) steps: Vec<Span>,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
    /// True if it is the server's fault that there is no result.
    pub(crate) failed: bool,
}

impl Traces {
    /// Starts the thread that sends spans.
    ///
    /// # Errors
    /// Those of the system, if it gives no thread.
    pub(crate) fn start(endpoint: &str, ratio: f64) -> io::Result<Self> {
        let endpoint = Endpoint::parse(endpoint).ok_or(io::ErrorKind::InvalidInput)?;
        let (orders, received) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let exporter = Exporter::new(endpoint, Arc::clone(&lost));
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || exporter.run(&received))?;
        Ok(Self { orders, lost, ratio, random: RandomState::new(), next: AtomicU64::new(0) })
    }

    /// Decides whether a request is traced: as its `traceparent` says, or else by the ratio.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        let given = headers.get("traceparent").and_then(|value| parent(value.to_str().ok()?));
        match given {
            Some((_, _, false)) => None,
            Some((id, parent, true)) => Some(Trace { id, span: self.number(), parent: Some(parent) }),
            None => {
                // The number becomes one of 53 bits, which are as random as all 64.
                let share = self.number() as f64 / u64::MAX as f64;
                let id = u128::from(self.number()) << 64 | u128::from(self.number());
                (share < self.ratio).then(|| Trace { id, span: self.number(), parent: None })
            }
        }
    }

    /// Sends the spans of a request, unless too many wait.
    pub(crate) fn end(&self, mut traced: Traced) {
        let steps = std::mem::take(&mut traced.steps);
        let spans = steps.into_iter().map(|step| (self.number(), step)).collect();
        let now = (Instant::now(), SystemTime::now());
        match self.orders.try_send(Order::Send { traced, steps: spans, now }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns the number of requests whose spans were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Sends what waits, for no longer than `time`.
    pub(crate) fn finish(&self, time: Duration) {
        let until = Instant::now() + time;
        let (sender, done) = mpsc::sync_channel(1);
        let mut order = Order::Tell(sender);
        // The thread may have more than enough to send right after a burst.
        while let Err(TrySendError::Full(refused)) = self.orders.try_send(order) {
            if Instant::now() >= until {
                return;
            }
            order = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
        // If it takes longer, the spans are lost.
        let _ = done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    /// Returns a number that no other span has, nor one of another process. It is never 0.
    fn number(&self) -> u64 {
        self.random.hash_one(self.next.fetch_add(1, Ordering::Relaxed)).max(1)
    }
}

/// Returns true for an endpoint that spans can be sent to.
pub(crate) fn is_endpoint(text: &str) -> bool {
    Endpoint::parse(text).is_some()
}

/// Reads the header of W3C's trace context: the trace, the span that asks, and whether it is traced.
fn parent(text: &str) -> Option<(u128, u64, bool)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !is_hex(version, 2) || version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    if !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
        return None;
    }
    let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && span != 0).then_some((trace, span, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_read_or_is_none() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let read = |version: &str, flags: &str| parent(&format!("{version}-{trace}-{span}-{flags}"));
        let known = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(read("00", "01"), Some((known.0, known.1, true)));
        assert_eq!(read("00", "00"), Some((known.0, known.1, false)));
        assert_eq!(read("00", "03"), Some((known.0, known.1, true)));
        // Later versions may have more behind that.
        assert_eq!(read("01", "01-more"), Some((known.0, known.1, true)));
        for (version, flags) in
            [("ff", "01"), ("00", "01-more"), ("0", "01"), ("00", "1"), ("00", "0G"), ("00", "")]
        {
            assert_eq!(read(version, flags), None, "{version} {flags}");
        }
        let (zeros, short) = ("0".repeat(32), "0".repeat(16));
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{zeros}-{span}-01"),
            format!("00-{trace}-{short}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-+{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(parent(&text), None, "{text}");
        }
    }

    /// What waits is sent also if the queue is full at that moment.
    #[test]
    fn the_spans_of_a_burst_are_sent_at_the_end() {
        use std::io::{Read as _, Write as _};
        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let traces = Traces::start(&format!("http://{}", collector.local_addr().unwrap()), 1.0).unwrap();
        let trace = Trace { id: 1, span: 2, parent: None };
        let now = Instant::now();
        let mut sent = 0;
        while traces.lost() == 0 {
            let traced = Traced {
                trace,
                name: String::new(),
                began: now,
                took: Duration::ZERO,
                steps: Vec::new(),
                attributes: Vec::new(),
                failed: false,
            };
            traces.end(traced);
            sent += 1;
        }
        // It begins to answer only now, and the queue is full.
        let received = std::thread::spawn(move || {
            let mut received = 0;
            while received < sent - 1 {
                let mut stream = collector.accept().unwrap().0;
                let mut text = String::new();
                let mut piece = [0; 65536];
                while !text.ends_with("]}]}]}") {
                    let count = stream.read(&mut piece).unwrap();
                    text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
                }
                received += text.matches("traceId").count();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            }
            received
        });
        traces.finish(Duration::from_secs(60));
        assert_eq!(traces.lost(), 1);
        assert!(
            received.is_finished() || {
                std::thread::sleep(Duration::from_secs(1));
                received.is_finished()
            }
        );
        assert_eq!(received.join().unwrap(), sent - 1);
    }
}
