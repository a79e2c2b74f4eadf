//! The log: one line for each request and each change of the server's state. Texts of requests are never in
//! it.

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::config::LogForm;
use crate::schedule::lock;

/// Where log lines go. Lines are written by the threads that serve everyone, so a place that may block belongs
/// behind a [`LogThread`]. A line that cannot be written is counted and lost.
pub type Sink = Box<dyn Write + Send>;

/// Writes lines in one form to one place.
pub(crate) struct Log {
    form: LogForm,
    sink: Mutex<Sink>,
    dropped: AtomicU64,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("form", &self.form).finish_non_exhaustive()
    }
}

/// What is known about a request when it has been answered.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) client: &'a str,
    pub(crate) method: &'a str,
    /// The pattern of the route and not the path, which may hold anything.
    pub(crate) route: &'a str,
    pub(crate) dialect: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) model: &'a str,
    pub(crate) status: u16,
    /// The code of the refusal.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) code: &'a str,
    pub(crate) inputs: usize,
    pub(crate) sequences: usize,
    pub(crate) tokens: usize,
    pub(crate) bytes: usize,
    pub(crate) queue_ms: f64,
    pub(crate) compute_ms: f64,
    pub(crate) total_ms: f64,
}

/// Rounds to a hundredth of a millisecond.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

impl Log {
    pub(crate) fn new(form: LogForm, sink: Sink) -> Self {
        Self { form, sink: Mutex::new(sink), dropped: AtomicU64::new(0) }
    }

    /// Writes the line of a request.
    pub(crate) fn request(&self, entry: &Entry<'_>) {
        let line = match self.form {
            LogForm::Json => {
                #[derive(Serialize)]
                struct Line<'a> {
                    time: f64,
                    event: &'static str,
                    #[serde(flatten)]
                    entry: &'a Entry<'a>,
                }
                serde_json::to_string(&Line { time: now(), event: "request", entry }).unwrap_or_default()
            }
            LogForm::Text => {
                let Entry { id, client, method, route, status, code, tokens, total_ms, .. } = entry;
                let code = if code.is_empty() { String::new() } else { format!(" {code}") };
                format!("{client} {method} {route} {status}{code} {tokens} tokens {total_ms} ms {id}")
            }
        };
        self.line(line);
    }

    /// Returns the number of lines that could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes a line about the server itself.
    pub(crate) fn event(&self, message: &str) {
        let line = match self.form {
            LogForm::Json => {
                serde_json::json!({"time": now(), "event": "server", "message": message}).to_string()
            }
            LogForm::Text => message.to_owned(),
        };
        self.line(line);
    }

    fn line(&self, mut line: String) {
        line.push('\n');
        let mut sink = lock(&self.sink);
        if sink.write_all(line.as_bytes()).and_then(|()| sink.flush()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The number of lines that may wait to be written.
const WAITING_LINES: usize = 4096;

/// What the thread of the log is told.
enum Order {
    Write(Vec<u8>),
    /// Answer once all that came before is written.
    Tell(SyncSender<()>),
}

/// A thread that writes log lines, so that a pipe which nobody reads holds up no request.
#[derive(Debug)]
pub struct LogThread {
    orders: SyncSender<Order>,
}

impl LogThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of the system, if it gives no thread.
    pub fn start(mut sink: Sink) -> io::Result<Self> {
        let (orders, received): (_, Receiver<Order>) = mpsc::sync_channel(WAITING_LINES);
        let write = move || {
            for order in received {
                match order {
                    // A place that takes nothing now may do so later.
                    Order::Write(bytes) => drop(sink.write_all(&bytes).and_then(|()| sink.flush())),
                    // Whoever asked may not wait any more.
                    Order::Tell(done) => drop(done.try_send(())),
                }
            }
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Self { orders })
    }

    /// Returns a place for log lines that never blocks: what the thread cannot take now is an error.
    pub fn sink(&self) -> Sink {
        Box::new(Lines(self.orders.clone()))
    }

    /// Waits until all lines so far are written, but no longer than `time`. Returns true if they are.
    pub fn finish(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        let (sender, done) = mpsc::sync_channel(1);
        let mut order = Order::Tell(sender);
        loop {
            match self.orders.try_send(order) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) if Instant::now() < end => order = again,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        done.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// The place of a [`LogThread`]. Each write is one line.
struct Lines(SyncSender<Order>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.try_send(Order::Write(bytes.to_vec())) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the seconds since 1970, to the millisecond.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    /// A place that blocks while a test holds its lock.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_place_that_blocks_loses_lines_and_holds_up_nobody() {
        let pipe = Pipe::default();
        let thread = LogThread::start(Box::new(pipe.clone())).unwrap();
        let log = Log::new(LogForm::Text, thread.sink());
        let blocked: MutexGuard<'_, _> = pipe.0.lock().unwrap();
        let lines = WAITING_LINES as u64 + 100;
        (0..lines).for_each(|i| log.event(&format!("line {i}")));
        assert!(!thread.finish(Duration::from_millis(20)), "nothing can be written");
        drop(blocked);
        assert!(thread.finish(Duration::from_secs(60)));
        let written = String::from_utf8(pipe.0.lock().unwrap().clone()).unwrap();
        // The thread held one line besides those that waited.
        let lost = log.dropped();
        assert!((99..=100).contains(&lost), "{lost}");
        assert_eq!(written.lines().count() as u64, lines - lost);
        assert!(written.starts_with("line 0\nline 1\n"));
        log.event("again");
        assert!(thread.finish(Duration::from_secs(60)));
        assert!(pipe.0.lock().unwrap().ends_with(b"again\n"));
    }
}
