//! Records events: one for each operation on each block of rows, with its time and thread.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The kind of work that an operation does. Reports have a row for each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OpKind {
    /// Word, position and segment embeddings.
    Embedding,
    /// A linear with everything that is fused with it.
    Linear,
    /// Attention: scores, softmax and the weighted sum of values.
    Attention,
    /// Packing of keys and values into the order that attention reads.
    Pack,
    /// Quantisation of f32 rows.
    Quantize,
    /// Selection of rows for a head.
    Select,
    /// Waiting for other threads.
    Barrier,
}

/// An operation of a backend's plan, known before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpInfo {
    /// Module paths of the graph nodes it computes, joined by `+`.
    pub name: String,
    /// The kind of work.
    pub kind: OpKind,
    /// Encoder layer; `None` for embeddings and heads.
    pub layer: Option<usize>,
    /// Inputs and outputs of a linear, or heads and head size of an attention; `[0, 0]` for other kinds.
    pub shape: [usize; 2],
    /// The kernel that computes it.
    pub kernel: String,
    /// Bytes of weights that it reads.
    pub weight_bytes: usize,
}

/// One span of work: an operation on one block of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Index of the operation in the plan.
    pub op: u32,
    /// Index of the thread in its pool.
    pub thread: u32,
    /// Rows (tokens) that were computed.
    pub rows: u32,
    /// Multiply-adds that were computed.
    pub macs: u64,
    /// Nanoseconds since the profiler was made.
    pub start_ns: u64,
    /// Nanoseconds since the profiler was made.
    pub end_ns: u64,
}

/// Collects the events of forward passes. Each thread writes to a lane of its own, so threads do not wait for
/// each other.
#[derive(Debug)]
pub struct Profiler {
    origin: Instant,
    lanes: Vec<Mutex<Vec<Event>>>,
}

/// Lanes of a profiler. If there are more threads, some share a lane.
const LANES: usize = 64;

impl Default for Profiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Profiler {
    /// An empty profiler; time starts now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), lanes: (0..LANES).map(|_| Mutex::new(Vec::new())).collect() }
    }

    /// The current time, as [`Profiler::record`] takes it for a start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Records work that began at `start_ns` and ends now. Returns the end, which is the start of the next
    /// operation.
    pub fn record(&self, op: usize, thread: usize, rows: usize, macs: u64, start_ns: u64) -> u64 {
        let end_ns = self.now();
        let event = Event { op: op as u32, thread: thread as u32, rows: rows as u32, macs, start_ns, end_ns };
        self.lanes[thread % LANES].lock().unwrap_or_else(PoisonError::into_inner).push(event);
        end_ns
    }

    /// Takes all events out of the profiler, sorted by start.
    pub fn take(&self) -> Vec<Event> {
        let lanes = self.lanes.iter().map(|lane| lane.lock().unwrap_or_else(PoisonError::into_inner));
        let mut events: Vec<Event> = lanes.flat_map(|mut lane| std::mem::take(&mut *lane)).collect();
        events.sort_by_key(|e| (e.start_ns, e.end_ns));
        events
    }

    /// Converts events to a Chrome trace, which chrome://tracing and Perfetto show with one row for each
    /// thread.
    pub fn trace_json(ops: &[OpInfo], events: &[Event]) -> serde_json::Value {
        let event = |e: &Event| {
            let op = &ops[e.op as usize];
            serde_json::json!({
                "name": op.name,
                "cat": op.kind,
                "ph": "X",
                "ts": e.start_ns as f64 / 1e3,
                "dur": (e.end_ns - e.start_ns) as f64 / 1e3,
                "pid": 1,
                "tid": e.thread,
                "args": { "rows": e.rows, "kernel": op.kernel, "macs": e.macs },
            })
        };
        serde_json::json!({ "traceEvents": events.iter().map(event).collect::<Vec<_>>(), "displayTimeUnit": "ms" })
    }
}
