//! WHO COMPUTES: backends run a [`Graph`] on a [`Batch`].

#[cfg(feature = "candle")]
pub mod candle;

use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::profile::{OpInfo, Profiler};
use crate::text::Batch;

/// A loaded model, ready to run. Implementations keep per-call state on the stack or in a checked-out scratch, so one
/// backend serves any number of threads.
pub trait Backend: Send + Sync {
    /// The name that `--backend` takes.
    fn name(&self) -> &'static str;

    /// The graph it runs.
    fn graph(&self) -> &Graph;

    /// The operations that profiles refer to by index; empty if this backend does not record.
    fn ops(&self) -> &[OpInfo] {
        &[]
    }

    /// Runs the graph and returns the last value, row-major.
    ///
    /// The batch has been checked: ids, types and lengths are within the model's tables, and requested rows exist.
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
    /// Token rows (indices into [`Batch::ids`]) that [`crate::graph::Rows::Requested`] keeps; `None` keeps all.
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
}

/// Receives intermediate values, for goldens, layer-by-layer comparison and debugging.
pub trait Observer: Sync {
    /// Called after each node with its output, row-major, `node.width` columns.
    fn observe(&self, node: &Node, output: &[f32]);
}
