//! Numbers about the server, in the text form of Prometheus. Labels come from settings and routes, never
//! from what clients send, so their number is bounded.

mod tei;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::schedule::{Snapshot, lock};
pub(crate) use tei::Asked;

/// The upper bounds of the buckets of times, in seconds.
const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Counts of times, by bucket.
#[derive(Debug, Clone, Default)]
struct Histogram {
    counts: [u64; SECONDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        for (count, bound) in self.counts.iter_mut().zip(SECONDS) {
            *count += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (count, bound) in self.counts.iter().zip(SECONDS) {
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(text, "{name}_sum{braces} {}", self.sum);
        let _ = writeln!(text, "{name}_count{braces} {}", self.count);
    }
}

/// Writes what stands above the values of a name.
fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// The name of a served model, or nothing.
    pub(crate) model: String,
    pub(crate) task: &'static str,
    pub(crate) dialect: &'static str,
}

/// What one request took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Took {
    pub(crate) total: Duration,
    pub(crate) queued: Duration,
    pub(crate) computed: Duration,
    pub(crate) truncated: usize,
}

/// A served model, for `mb_model_info`.
#[derive(Debug)]
pub(crate) struct ModelInfo {
    pub(crate) name: String,
    pub(crate) sha: String,
    pub(crate) precision: &'static str,
    pub(crate) arena_bytes: usize,
}

/// The state of the server at the moment that its numbers are written.
#[derive(Debug)]
pub(crate) struct State<'a> {
    pub(crate) queue: Snapshot,
    pub(crate) models: &'a [ModelInfo],
    pub(crate) ready: bool,
    /// Lines of the log that could not be written.
    pub(crate) unlogged: u64,
    /// Requests whose spans could not be sent.
    pub(crate) untraced: u64,
    /// Bytes of bodies that are in memory.
    pub(crate) body_bytes: usize,
    /// True if the numbers of text-embeddings-inference are wanted too.
    pub(crate) tei: bool,
}

/// All counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Labels, u16), u64>>,
    seconds: Mutex<BTreeMap<Labels, Histogram>>,
    queue: Mutex<Histogram>,
    compute: Mutex<Histogram>,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
    truncated: AtomicU64,
    reloads: Mutex<BTreeMap<&'static str, u64>>,
    handshakes: AtomicU64,
    tei: tei::Tei,
    pub(crate) connections: AtomicI64,
}

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn answered(&self, labels: Labels, status: u16, took: Took) {
        *lock(&self.requests).entry((labels.clone(), status)).or_default() += 1;
        if status == 200 {
            lock(&self.seconds).entry(labels).or_default().add(took.total);
            if took.computed > Duration::ZERO {
                lock(&self.queue).add(took.queued);
                lock(&self.compute).add(took.computed);
            }
        }
        self.truncated.fetch_add(took.truncated as u64, Ordering::Relaxed);
    }

    /// Counts a request to a route of text-embeddings-inference that computes.
    pub(crate) fn tei(&self, asked: Asked) {
        self.tei.add(asked);
    }

    /// Counts a request that was refused, by the code of the refusal.
    pub(crate) fn refused(&self, why: &'static str) {
        *lock(&self.rejected).entry(why).or_default() += 1;
    }

    /// Counts a client whose handshake failed.
    #[cfg(feature = "tls")]
    pub(crate) fn handshake_failed(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt to load all models again.
    pub(crate) fn reloaded(&self, success: bool) {
        *lock(&self.reloads).entry(if success { "success" } else { "failure" }).or_default() += 1;
    }

    /// Writes all numbers.
    pub(crate) fn text(&self, state: &State<'_>) -> String {
        let State { queue, models, ready, unlogged, untraced, body_bytes, tei } = *state;
        let mut text = String::new();
        let of = |labels: &Labels| {
            let Labels { model, task, dialect } = labels;
            format!("model=\"{model}\",task=\"{task}\",dialect=\"{dialect}\"")
        };
        head(&mut text, "mb_requests_total", "counter", "Requests that were answered.");
        for ((labels, code), count) in &*lock(&self.requests) {
            let _ = writeln!(text, "mb_requests_total{{{},code=\"{code}\"}} {count}", of(labels));
        }
        head(&mut text, "mb_request_seconds", "histogram", "Time from the head of a request to its result.");
        for (labels, histogram) in &*lock(&self.seconds) {
            histogram.write(&mut text, "mb_request_seconds", &of(labels));
        }
        head(&mut text, "mb_queue_seconds", "histogram", "Time until the first sequence of a request began.");
        lock(&self.queue).write(&mut text, "mb_queue_seconds", "");
        head(&mut text, "mb_compute_seconds", "histogram", "Time from there to the last row.");
        lock(&self.compute).write(&mut text, "mb_compute_seconds", "");
        let counters = queue.counters;
        let singles = [
            ("mb_tokens_total", "counter", "Tokens that were computed.", counters.tokens),
            ("mb_passes_total", "counter", "Forward passes.", counters.passes),
            ("mb_sequences_total", "counter", "Sequences that were computed.", counters.sequences),
            ("mb_shared_total", "counter", "Sequences that were equal to one in flight.", counters.shared),
            ("mb_panics_total", "counter", "Passes that panicked.", counters.panics),
            (
                "mb_truncated_total",
                "counter",
                "Texts whose end was not read.",
                self.truncated.load(Ordering::Relaxed),
            ),
            (
                "mb_tls_failures_total",
                "counter",
                "Clients whose handshake of TLS failed.",
                self.handshakes.load(Ordering::Relaxed),
            ),
            ("mb_log_dropped_total", "counter", "Lines of the log that could not be written.", unlogged),
            ("mb_traces_dropped_total", "counter", "Requests whose spans could not be sent.", untraced),
            ("mb_queue_tokens", "gauge", "Tokens that wait.", queue.tokens as u64),
            ("mb_body_bytes", "gauge", "Bytes of bodies and long answers in memory.", body_bytes as u64),
            ("mb_queue_requests", "gauge", "Requests that are not answered.", queue.requests as u64),
            ("mb_ready", "gauge", "1 if requests are taken.", u64::from(ready)),
            (
                "mb_connections",
                "gauge",
                "Open connections.",
                u64::try_from(self.connections.load(Ordering::Relaxed)).unwrap_or_default(),
            ),
        ];
        for (name, kind, help, value) in singles {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
        head(&mut text, "mb_dropped_total", "counter", "Requests that were taken and given up.");
        for (why, count) in [("late", counters.late), ("gone", counters.gone)] {
            let _ = writeln!(text, "mb_dropped_total{{why=\"{why}\"}} {count}");
        }
        for (name, help, label, counts) in [
            ("mb_rejected_total", "Requests that were refused.", "why", &self.rejected),
            ("mb_reloads_total", "Times that models were loaded again.", "result", &self.reloads),
        ] {
            head(&mut text, name, "counter", help);
            for (value, count) in &*lock(counts) {
                let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {count}");
            }
        }
        head(&mut text, "mb_model_info", "gauge", "Models that are served.");
        for ModelInfo { name, sha, precision, .. } in models {
            let _ =
                writeln!(text, "mb_model_info{{model=\"{name}\",sha=\"{sha}\",precision=\"{precision}\"}} 1");
        }
        head(&mut text, "mb_arena_bytes", "gauge", "Memory that is kept for the next passes.");
        for ModelInfo { name, arena_bytes, .. } in models {
            let _ = writeln!(text, "mb_arena_bytes{{model=\"{name}\"}} {arena_bytes}");
        }
        if tei {
            self.tei.write(&mut text, &queue);
        }
        process(&mut text);
        text
    }
}

/// Writes what the system knows of the process, where it says so.
fn process(text: &mut String) {
    if let Some(bytes) =
        std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident_bytes(&status))
    {
        let _ = writeln!(
            text,
            "# HELP process_resident_memory_bytes Resident memory.\n# TYPE process_resident_memory_bytes \
             gauge\nprocess_resident_memory_bytes {bytes}"
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let _ = writeln!(
            text,
            "# HELP process_open_fds Open files.\n# TYPE process_open_fds gauge\nprocess_open_fds {}",
            open.count()
        );
    }
}

/// Finds the resident memory, which Linux gives in units of 1024 bytes whatever the size of a page is.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status() {
        let status = "Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident_bytes(status), Some(1234 * 1024));
        assert_eq!([resident_bytes(""), resident_bytes("VmRSS: many kB")], [None, None]);
    }
}
