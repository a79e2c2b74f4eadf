//! Sums events up by operation, kind and layer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::recorder::{Event, OpInfo, OpKind};
use super::statistics::median;

/// The measurements of several forward passes of one plan. `mobilebert profile --json` writes it and
/// `profile diff` reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Number of threads that computed.
    pub threads: usize,
    /// Tokens of each pass.
    pub tokens: usize,
    /// Peak of the machine for the plan's arithmetic on one thread, in 10^9 multiply-adds a second; 0 if not
    /// measured.
    pub peak_gmacs: f64,
    /// Wall time of each pass in nanoseconds.
    pub wall_ns: Vec<f64>,
    /// The operations, in the plan's order.
    pub ops: Vec<OpProfile>,
}

/// One operation over all passes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpProfile {
    /// The operation.
    #[serde(flatten)]
    pub info: OpInfo,
    /// Number of events in one pass, one for each block of rows.
    pub count: f64,
    /// Multiply-adds in one pass.
    pub macs: f64,
    /// Time of each pass in nanoseconds, summed over threads.
    pub ns: Vec<f64>,
}

impl Profile {
    /// Sums up the events of each pass by operation. `passes` has the wall time in nanoseconds and the events
    /// of each pass.
    pub fn new(
        ops: &[OpInfo],
        threads: usize,
        tokens: usize,
        peak_gmacs: f64,
        passes: &[(u64, Vec<Event>)],
    ) -> Self {
        let n = passes.len();
        let empty = |info: &OpInfo| OpProfile { info: info.clone(), count: 0.0, macs: 0.0, ns: vec![0.0; n] };
        let mut folded: Vec<OpProfile> = ops.iter().map(empty).collect();
        for (pass, (_, events)) in passes.iter().enumerate() {
            for event in events {
                let op = &mut folded[event.op as usize];
                op.ns[pass] += (event.end_ns - event.start_ns) as f64;
                op.count += 1.0 / n as f64;
                op.macs += event.macs as f64 / n as f64;
            }
        }
        let wall_ns = passes.iter().map(|(wall, _)| *wall as f64).collect();
        Self { threads, tokens, peak_gmacs, wall_ns, ops: folded }
    }

    /// Sums up the operations by kind and by layer, with the medians over the passes.
    pub fn report(&self) -> Report {
        let available = median(&self.wall_ns) * self.threads as f64;
        let row = |name: String, kernel: String, ops: &[&OpProfile]| {
            let passes = self.wall_ns.len();
            let ns = median(&(0..passes).map(|p| ops.iter().map(|op| op.ns[p]).sum()).collect::<Vec<f64>>());
            let macs: f64 = ops.iter().map(|op| op.macs).sum();
            let gmacs = if ns > 0.0 { macs / ns } else { 0.0 };
            Row {
                name,
                kernel,
                count: ops.iter().map(|op| op.count).sum(),
                us: ns / 1e3,
                share: if available > 0.0 { ns / available } else { 0.0 },
                gmacs,
                of_peak: if self.peak_gmacs > 0.0 { gmacs / self.peak_gmacs } else { 0.0 },
                weight_bytes: ops.iter().map(|op| op.info.weight_bytes).sum(),
            }
        };
        let mut kinds: BTreeMap<(OpKind, [usize; 2]), Vec<&OpProfile>> = BTreeMap::new();
        let mut layers: BTreeMap<Option<usize>, Vec<&OpProfile>> = BTreeMap::new();
        for op in &self.ops {
            kinds.entry((op.info.kind, op.info.shape)).or_default().push(op);
            layers.entry(op.info.layer).or_default().push(op);
        }
        let by_op =
            self.ops.iter().map(|op| row(op.info.name.clone(), op.info.kernel.clone(), &[op])).collect();
        let mut by_kind: Vec<Row> = kinds
            .iter()
            .map(|((kind, [a, b]), ops)| {
                let shape = if *a > 0 { format!(" {a}x{b}") } else { String::new() };
                row(format!("{kind:?}{shape}").to_lowercase(), ops[0].info.kernel.clone(), ops)
            })
            .collect();
        by_kind.sort_by(|a, b| b.us.total_cmp(&a.us));
        let by_layer = layers.iter().map(|(layer, ops)| {
            let name = layer.map_or_else(|| "embeddings and head".to_owned(), |l| format!("layer {l}"));
            row(name, String::new(), ops)
        });
        let by_layer = by_layer.collect();
        let everything: Vec<&OpProfile> = self.ops.iter().collect();
        let all = row("all operations".to_owned(), String::new(), &everything);
        Report {
            wall_us: median(&self.wall_ns) / 1e3,
            threads: self.threads,
            tokens: self.tokens,
            peak_gmacs: self.peak_gmacs,
            unexplained_share: 1.0 - all.share,
            all,
            by_kind,
            by_layer,
            by_op,
        }
    }
}

/// One line of a report. Times are summed over threads, and then the median over the passes is taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the operation, kind and shape, or layer.
    pub name: String,
    /// Name of the kernel; empty if the row sums up several.
    pub kernel: String,
    /// Number of events in a pass.
    pub count: f64,
    /// Time in microseconds.
    pub us: f64,
    /// Share of the time of all threads.
    pub share: f64,
    /// Multiply-adds of one thread, in 10^9 a second.
    pub gmacs: f64,
    /// Share of the machine's measured peak.
    pub of_peak: f64,
    /// Bytes of weights that are read.
    pub weight_bytes: usize,
}

/// A profile, summed up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Median wall time of a pass in microseconds.
    pub wall_us: f64,
    /// Number of threads that computed.
    pub threads: usize,
    /// Tokens of each pass.
    pub tokens: usize,
    /// Measured peak of one thread, in 10^9 multiply-adds a second.
    pub peak_gmacs: f64,
    /// Share of the threads' time outside all operations.
    pub unexplained_share: f64,
    /// Sum of all operations.
    pub all: Row,
    /// One row for each kind and shape, slowest first.
    pub by_kind: Vec<Row>,
    /// One row for each encoder layer.
    pub by_layer: Vec<Row>,
    /// One row for each operation, in the order of the plan.
    pub by_op: Vec<Row>,
}
