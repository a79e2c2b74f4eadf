//! SCHEDULE -> TIMES: sends requests at the times of a Poisson process that is fixed in advance, on
//! connections that stay open, and counts each latency from the time at which its request was due.
//!
//! Each connection has a thread, which waits for its turn, sleeps until the next request is due, hands the
//! turn on and sends. A request that is due while all connections are busy waits, and that wait is part of
//! its latency; so a server that stalls is charged for all requests that were due meanwhile.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mobilebert_tools::metrics::interval::Random;

/// How long a connection may take to be made, and an answer to come.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A request that could not be sent for so long is given up.
const GIVE_UP: Duration = Duration::from_secs(5);
/// The threads do nothing deep.
const STACK: usize = 128 << 10;
/// The most bytes of an answer's head, and of an answer.
const MOST_HEAD: usize = 64 << 10;
const MOST_BODY: usize = 256 << 20;

/// Returns the times of `count` arrivals in seconds from the start, `rate` a second.
pub(super) fn arrivals(rate: f64, count: usize, seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed);
    let mut at = 0.0;
    let next = |_| {
        at -= (1.0 - random.unit()).ln() / rate;
        at
    };
    (0..count).map(next).collect()
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// The status of the answer; `None` if there was none.
    pub(super) status: Option<u16>,
    /// Milliseconds from the time at which it was due to the last byte of its answer.
    pub(super) latency_ms: f64,
    /// Milliseconds by which it was sent late although a connection was free, which is the generator's fault.
    pub(super) behind_ms: f64,
    /// True if no connection was free when it was due.
    pub(super) waited: bool,
}

/// A run.
pub(super) struct Run<'r> {
    pub(super) address: SocketAddr,
    /// Their bytes, in rotation.
    pub(super) requests: &'r [Vec<u8>],
    pub(super) arrivals: &'r [f64],
    pub(super) connections: usize,
    /// Ends the run once more requests than this have had no answer of status 200 within these milliseconds.
    pub(super) most_over: Option<(usize, f64)>,
}

impl Run<'_> {
    /// Sends all requests and waits for the answers. Fewer come back if the run was ended.
    ///
    /// # Errors
    /// Those of the system: the server cannot be reached, or no thread can be started.
    pub(super) fn go(&self) -> io::Result<Vec<Sent>> {
        // One that cannot be reached at all is an error, and not a result.
        let first = Connection::open(self.address)?;
        let first = Mutex::new(Some(first));
        let turn = Mutex::new(0);
        let (over, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let start = Instant::now();
        let lane = || {
            let mut connection = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut sent = Vec::new();
            loop {
                let free = Instant::now();
                let (i, due) = {
                    let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(&at) = self.arrivals.get(*turn) else { break };
                    let due = start + Duration::from_secs_f64(at);
                    while let Some(wait) = left(due).filter(|_| !ended.load(Ordering::Relaxed)) {
                        // A run that is ended is noticed soon.
                        std::thread::sleep(wait.min(Duration::from_millis(100)));
                    }
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let i = *turn;
                    *turn += 1;
                    (i, due)
                };
                let begun = Instant::now();
                let behind = begun.saturating_duration_since(due.max(free));
                let status = match begun.saturating_duration_since(due) > GIVE_UP {
                    true => None,
                    false => ask(&mut connection, self.address, &self.requests[i % self.requests.len()]),
                };
                let latency_ms = due.elapsed().as_secs_f64() * 1e3;
                let waited = free > due;
                sent.push(Sent { status, latency_ms, behind_ms: behind.as_secs_f64() * 1e3, waited });
                if let Some((most, bound)) = self.most_over
                    && (status != Some(200) || latency_ms > bound)
                    && over.fetch_add(1, Ordering::Relaxed) >= most
                {
                    ended.store(true, Ordering::Relaxed);
                }
            }
            sent
        };
        std::thread::scope(|scope| {
            let mut lanes = Vec::new();
            for _ in 0..self.connections.min(self.arrivals.len()) {
                let thread = std::thread::Builder::new().stack_size(STACK);
                match thread.spawn_scoped(scope, lane) {
                    Ok(lane) => lanes.push(lane),
                    Err(error) => {
                        ended.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            let mut all = Vec::new();
            for lane in lanes {
                // A panic of a thread is one of this run.
                all.extend(lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            Ok(all)
        })
    }
}

/// Sends requests one after the other on one connection, and returns the milliseconds that each took.
///
/// # Errors
/// Those of the system, and an answer other than 200.
pub(super) fn alone(
    address: SocketAddr,
    requests: &[Vec<u8>],
    (least, most): (usize, usize),
    time: Duration,
) -> io::Result<Vec<f64>> {
    let mut connection = Some(Connection::open(address)?);
    let mut times = Vec::new();
    let start = Instant::now();
    for request in requests.iter().cycle().take(most) {
        if times.len() >= least && start.elapsed() >= time {
            break;
        }
        let asked = Instant::now();
        match ask(&mut connection, address, request) {
            Some(200) => times.push(asked.elapsed().as_secs_f64() * 1e3),
            Some(status) => return Err(io::Error::other(format!("a request was answered with {status}"))),
            None => return Err(io::Error::other("a request got no answer")),
        }
    }
    Ok(times)
}

/// Returns the time until a moment, or nothing if it has come.
fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|time| !time.is_zero())
}

/// Asks on a connection, or on a new one if the server has closed it meanwhile.
fn ask(connection: &mut Option<Connection>, address: SocketAddr, request: &[u8]) -> Option<u16> {
    if let Some(mut open) = connection.take() {
        match open.ask(request) {
            Ok((status, stays)) => {
                *connection = stays.then_some(open);
                return Some(status);
            }
            // It rested for too long. The server had read nothing of the request, so it may be sent again.
            Err(error) if open.has_rested && was_closed(&error) => {}
            Err(_) => return None,
        }
    }
    let mut open = Connection::open(address).ok()?;
    let (status, stays) = open.ask(request).ok()?;
    *connection = stays.then_some(open);
    Some(status)
}

/// Returns true if the other side has closed the connection, which is not so if it is only slow.
fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// A connection.
struct Connection {
    stream: TcpStream,
    /// What was read and not used yet.
    buffer: Vec<u8>,
    /// True between an answer and the first byte of the next one.
    has_rested: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), has_rested: false })
    }

    /// Sends a request and reads the answer to its end. Returns its status, and whether the connection stays.
    fn ask(&mut self, request: &[u8]) -> io::Result<(u16, bool)> {
        self.stream.write_all(request)?;
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = Head::read(&self.buffer[..end])?;
                self.buffer.drain(..end + 4);
                break head;
            }
            if self.buffer.len() > MOST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.more()?;
        };
        match head.body {
            Body::Length(length) => self.skip(length)?,
            Body::Chunked => loop {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
                match size {
                    0 => {
                        // Trailers, and the blank line.
                        while !self.line()?.is_empty() {}
                        break;
                    }
                    size => self.skip(size.checked_add(2).ok_or(io::ErrorKind::InvalidData)?)?,
                }
            },
        }
        self.has_rested = true;
        Ok((head.status, head.stays))
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.has_rested = false;
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }

    fn skip(&mut self, mut bytes: usize) -> io::Result<()> {
        if bytes > MOST_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        loop {
            let here = bytes.min(self.buffer.len());
            self.buffer.drain(..here);
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            self.more()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > MOST_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.more()?;
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// How long a body is.
#[derive(Debug, PartialEq)]
enum Body {
    Length(usize),
    Chunked,
}

/// What the head of an answer says.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    body: Body,
    stays: bool,
}

impl Head {
    fn read(bytes: &[u8]) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("a head that is not UTF-8"))?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| wrong("no status of HTTP/1.1"))?;
        let (mut body, mut stays) = (None, true);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                body = Some(Body::Length(value.parse().map_err(|_| wrong("a length that is no number"))?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                body = Some(Body::Chunked);
            } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
                stays = false;
            }
        }
        Ok(Self { status, body: body.ok_or_else(|| wrong("an answer without a length"))?, stays })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_follow_from_the_seed_and_have_the_rate() {
        let (a, b) = (arrivals(100.0, 10_000, 7), arrivals(100.0, 10_000, 7));
        assert!(a == b && a != arrivals(100.0, 10_000, 8) && a.is_sorted());
        assert!((a[9_999] - 100.0).abs() < 5.0, "{}", a[9_999]);
        // Gaps of a Poisson process are as wide as their mean on average, and vary by as much.
        let gaps: Vec<f64> = a.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn heads_say_how_long_bodies_are() {
        let read = |text: &str| Head::read(text.replace('\n', "\r\n").as_bytes());
        let head =
            read("HTTP/1.1 429 Too Many\nRetry-After: 1\nContent-Length: 12\nconnection: close").unwrap();
        assert_eq!(head, Head { status: 429, body: Body::Length(12), stays: false });
        let head = read("HTTP/1.1 200 OK\nTransfer-Encoding: chunked").unwrap();
        assert_eq!(head, Head { status: 200, body: Body::Chunked, stays: true });
        for wrong in ["", "HTTP/1.0 200", "HTTP/1.1 200 OK", "HTTP/1.1 x", "HTTP/1.1 200\ncontent-length: -1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
