//! The log: one line for each request and each change of the server's state. Texts of requests are never in
//! it.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::config::LogForm;
use crate::schedule::lock;

/// Where log lines go. The program gives standard error.
pub type Sink = Box<dyn Write + Send>;

/// Writes lines in one form to one place.
pub(crate) struct Log {
    form: LogForm,
    sink: Mutex<Sink>,
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
        Self { form, sink: Mutex::new(sink) }
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
        self.line(&line);
    }

    /// Writes a line about the server itself.
    pub(crate) fn event(&self, message: &str) {
        let line = match self.form {
            LogForm::Json => {
                serde_json::json!({"time": now(), "event": "server", "message": message}).to_string()
            }
            LogForm::Text => message.to_owned(),
        };
        self.line(&line);
    }

    fn line(&self, line: &str) {
        let mut sink = lock(&self.sink);
        // Nobody has to be told that nobody can be told.
        let _ = writeln!(sink, "{line}").and_then(|()| sink.flush());
    }
}

/// Returns the seconds since 1970, to the millisecond.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1000.0).round() / 1000.0
}
