//! The numbers that dashboards of text-embeddings-inference read, about the routes of its dialect.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use super::{Histogram, head};
use crate::schedule::{Snapshot, lock};

/// What is known of a request to a route that computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) status: u16,
    /// The number of its texts, of which one is a single request and more are a batch.
    pub(crate) inputs: usize,
    pub(crate) tokens: usize,
    pub(crate) total: Duration,
    pub(crate) prepared: Duration,
    pub(crate) queued: Duration,
    pub(crate) computed: Duration,
}

/// All counts since the start.
#[derive(Debug, Default)]
pub(super) struct Tei(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    count: BTreeMap<&'static str, u64>,
    success: BTreeMap<&'static str, u64>,
    failure: BTreeMap<&'static str, u64>,
    duration: Histogram,
    tokenization: Histogram,
    queue: Histogram,
    inference: Histogram,
    /// The tokens of a text, on average over those of its request.
    input_tokens: f64,
    inputs: u64,
}

impl Tei {
    /// Counts a request.
    pub(super) fn add(&self, asked: Asked) {
        let mut counts = lock(&self.0);
        let method = if asked.inputs > 1 { "batch" } else { "single" };
        *counts.count.entry(method).or_default() += 1;
        if asked.status != 200 {
            let err = match asked.status {
                429 => "overloaded",
                503 => "unhealthy",
                424 | 500 => "backend",
                _ => "validation",
            };
            *counts.failure.entry(err).or_default() += 1;
            return;
        }
        *counts.success.entry(method).or_default() += 1;
        counts.duration.add(asked.total);
        counts.tokenization.add(asked.prepared);
        if asked.computed > Duration::ZERO {
            counts.queue.add(asked.queued);
            counts.inference.add(asked.computed);
            counts.input_tokens += asked.tokens as f64;
            counts.inputs += asked.inputs as u64;
        }
    }

    /// Writes all numbers.
    pub(super) fn write(&self, text: &mut String, queue: &Snapshot) {
        let counts = lock(&self.0);
        for (name, help, label, values) in [
            ("te_request_count", "Requests to the routes of its dialect.", "method", &counts.count),
            ("te_request_success", "Those that had a result.", "method", &counts.success),
            ("te_request_failure", "Those that had none.", "err", &counts.failure),
        ] {
            head(text, name, "counter", help);
            for (value, count) in values {
                let _ = writeln!(text, "{name}{{{label}=\"{value}\"}} {count}");
            }
        }
        for (name, help, histogram) in [
            ("te_request_duration", "Seconds from the head of a request to its result.", &counts.duration),
            ("te_request_tokenization_duration", "Seconds to tokens.", &counts.tokenization),
            ("te_request_queue_duration", "Seconds until the first sequence began.", &counts.queue),
            ("te_request_inference_duration", "Seconds from there to the last row.", &counts.inference),
        ] {
            head(text, name, "histogram", help);
            histogram.write(text, name, "");
        }
        let passes = queue.counters;
        for (name, help, sum, count) in [
            ("te_request_input_length", "Tokens of a text.", counts.input_tokens, counts.inputs),
            ("te_batch_next_size", "Sequences of a pass.", passes.sequences as f64, passes.passes),
            ("te_batch_next_tokens", "Tokens of a pass.", passes.tokens as f64, passes.passes),
        ] {
            head(text, name, "summary", help);
            let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
        }
        head(text, "te_queue_size", "gauge", "Requests that are not answered.");
        let _ = writeln!(text, "te_queue_size {}", queue.requests);
    }
}
