//! WHO COMPUTES: backends run a [`Graph`] on a [`Batch`].

mod factory;
pub mod native;
pub(crate) mod parallel;

pub use factory::{BackendFactory, LoadOptions};

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, RowUnit};
use crate::profile::{OpInfo, Profiler};
use crate::text::Batch;

/// The arithmetic of a backend's linears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    F32,
    /// Weights and rows of linears rounded to bf16, sums and everything else in f32: half the memory of f32,
    /// and faster on CPUs with bf16 products. Differs between instruction sets in the last bits.
    Bf16,
    /// Int8 weights and activations, exact sums: the same bits on every machine.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            "int8" => Ok(Precision::Int8),
            other => Err(Error::option("precision", "`int8`, `bf16` or `f32`", format!("`{other}`"))),
        }
    }
}

/// A loaded model, ready to run. Implementations keep per-call state on the stack or in a checked-out
/// scratch, so one backend serves any number of threads.
pub trait Backend: Send + Sync {
    /// The name that `--backend` takes.
    fn name(&self) -> &'static str;

    /// The graph it runs.
    fn graph(&self) -> &Graph;

    /// The arithmetic of its linears.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// What does the arithmetic: an instruction set, a library.
    fn kernel(&self) -> &str;

    /// Multiply-adds that one thread of this machine can do at this precision, in 10^9 a second, measured
    /// now; 0 if this backend cannot measure it.
    fn measure_peak_gmacs(&self) -> f64 {
        0.0
    }

    /// The operations that profiles refer to by index; empty if this backend does not record.
    fn ops(&self) -> &[OpInfo] {
        &[]
    }

    /// Bytes of memory for intermediate values that are kept for the next passes. Memory that a pass is using
    /// now does not count.
    fn arena_bytes(&self) -> usize {
        0
    }

    /// Frees the memory that [`Backend::arena_bytes`] counts. The next passes allocate it again.
    fn trim(&self) {}

    /// A backend for the first nodes of this one's graph, such as an encoder without its head, over the same
    /// weights in memory. `None` if this backend cannot share them.
    fn prefix(&self, _graph: &Graph) -> Option<Box<dyn Backend>> {
        None
    }

    /// Runs the graph and returns the last value, row-major.
    ///
    /// The batch has been checked: ids, types and lengths are within the model's tables, and requested rows
    /// exist.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Backend`] if the library below fails.
    fn run(&self, request: &Request<'_>) -> Result<Vec<f32>>;
}

/// One forward pass.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The tokens.
    pub batch: &'a Batch,
    /// Token rows (indices into [`Batch::ids`]) that [`crate::graph::Rows::Requested`] keeps; `None` keeps
    /// all.
    pub rows: Option<&'a [usize]>,
    /// Sees every node's output as it is produced.
    pub observer: Option<&'a dyn Observer>,
    /// Records when each of [`Backend::ops`] ran.
    pub profiler: Option<&'a Profiler>,
}

impl<'a> Request<'a> {
    /// A plain forward pass.
    pub fn new(batch: &'a Batch) -> Self {
        Self { batch, rows: None, observer: None, profiler: None }
    }

    /// Number of rows that `graph` gives for it.
    pub fn output_rows(&self, graph: &Graph) -> usize {
        match (graph.row_unit(), self.rows) {
            (RowUnit::Sequence, _) => self.batch.sequences(),
            (RowUnit::Requested, Some(rows)) => rows.len(),
            _ => self.batch.tokens(),
        }
    }
}

/// Receives intermediate values, for goldens, layer-by-layer comparison and debugging.
pub trait Observer: Sync {
    /// Called after each node with its output, row-major, `node.width` columns.
    fn observe(&self, node: &Node, output: &[f32]);
}
