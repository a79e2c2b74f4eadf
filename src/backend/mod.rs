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

/// The number formats of a backend's linears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    F32,
    /// The weights and the input rows of linears are rounded to bf16; sums and everything else are in f32. It
    /// takes half the memory of f32 and is faster on CPUs with bf16 products. The results differ between
    /// instruction sets in the last bits.
    Bf16,
    /// Weights and activations are in int8 and sums are exact, so the results have the same bits on every
    /// machine.
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

/// A loaded model, ready to run. One backend serves any number of threads at the same time, so an
/// implementation keeps the state of a pass on the stack or in memory that the pass takes out of a shared
/// store.
pub trait Backend: Send + Sync {
    /// The name of the backend, as the command's option `--backend` takes it.
    fn name(&self) -> &'static str;

    /// The graph that it runs.
    fn graph(&self) -> &Graph;

    /// The precision of its linears.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// The name of what computes: an instruction set or a library.
    fn kernel(&self) -> &str;

    /// Measures how many multiply-adds one thread of this machine can do at this precision, in 10^9 a second;
    /// 0 if this backend cannot measure it.
    fn measure_peak_gmacs(&self) -> f64 {
        0.0
    }

    /// The operations that profiles refer to by index; empty if this backend does not record profiles.
    fn ops(&self) -> &[OpInfo] {
        &[]
    }

    /// Bytes of memory for intermediate values that are kept for the next passes. The memory that a pass is
    /// using now does not count.
    fn arena_bytes(&self) -> usize {
        0
    }

    /// Frees the memory that [`Backend::arena_bytes`] counts. The next passes allocate it again.
    fn trim(&self) {}

    /// A backend for the first nodes of this one's graph, such as an encoder without its head. It shares the
    /// weights in memory with this one. `None` if this backend cannot share them.
    fn prefix(&self, _graph: &Graph) -> Option<Box<dyn Backend>> {
        None
    }

    /// Runs the graph and returns its output, row-major.
    ///
    /// The caller has checked the request ([`crate::check_request`]): ids, types and lengths are
    /// within the model's tables, and requested rows exist.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Backend`] if the library or the device that it runs on fails.
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
    /// Receives the output of every node.
    pub observer: Option<&'a dyn Observer>,
    /// Records when each of [`Backend::ops`] ran.
    pub profiler: Option<&'a Profiler>,
}

impl<'a> Request<'a> {
    /// A forward pass over all rows, without observer and profiler.
    pub fn new(batch: &'a Batch) -> Self {
        Self { batch, rows: None, observer: None, profiler: None }
    }

    /// Number of rows that `graph` returns for this request.
    pub fn output_rows(&self, graph: &Graph) -> usize {
        match (graph.row_unit(), self.rows) {
            (RowUnit::Sequence, _) => self.batch.sequences(),
            (RowUnit::Requested, Some(rows)) => rows.len(),
            _ => self.batch.tokens(),
        }
    }
}

/// Receives intermediate values, for tests, comparisons of two backends and debugging.
pub trait Observer: Sync {
    /// Called once for each node of the graph, in order, with its output: row-major, `node.width` columns.
    fn observe(&self, node: &Node, output: &[f32]);
}
