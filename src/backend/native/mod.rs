//! The native CPU engine: int8, bf16 or f32 on the crate's own kernels.
//!
//! At load, a graph becomes a `plan` and its weights are packed. A call cuts its batch into blocks of rows
//! (`layout`), takes memory out of a store (`arena`) and carries the blocks through the plan (`pass`), on as
//! many threads as the current rayon pool has (`threads`).

mod arena;
mod factory;
mod homes;
mod keys_values;
mod layout;
mod ops;
mod pages;
mod pass;
mod plan;
mod planner;
mod prefix;
mod scratch;
#[cfg(test)]
mod tests;
mod threads;
mod weights;

use std::sync::{Arc, Mutex};
use std::time::Instant;

pub use self::factory::NativeFactory;

use self::arena::Arena;
use self::pass::{Pass, rows};
use self::plan::Plan;
use self::scratch::Scratch;
use self::weights::Weights;
use super::{Backend, Precision, Request, parallel};
use crate::error::{Error, ErrorKind, Result};
use crate::format::WeightSource;
use crate::graph::{Graph, Node, Op, ParameterId};
use crate::kernels::{self, Isa, Kernel, Kernels};
use crate::profile::OpInfo;

const NAME: &str = "native";

/// How to load and run a model on the native backend.
#[derive(Debug, Clone)]
#[must_use]
pub struct NativeOptions {
    precision: Precision,
    keep_f32: Vec<String>,
    kernels: Option<String>,
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self { precision: Precision::Int8, keep_f32: Vec::new(), kernels: None }
    }
}

impl NativeOptions {
    /// Runs in int8, on the best kernels of this CPU or on those that the environment variable
    /// `MOBILEBERT_KERNELS` names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the precision.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Keeps linears, attentions and embeddings in f32 if their module path begins with one of these
    /// prefixes, such as `encoder.layer.0.`.
    pub fn keep_f32<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_f32 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Forces a variant of the kernels by name; see [`crate::kernels::variants`].
    pub fn kernels(mut self, name: impl Into<String>) -> Self {
        self.kernels = Some(name.into());
        self
    }

    fn precision_of(&self, node: &Node) -> Precision {
        let kept = self.keep_f32.iter().any(|prefix| node.name.starts_with(prefix.as_str()));
        if kept { Precision::F32 } else { self.precision }
    }

    fn find_kernels(&self) -> Result<&'static dyn Kernels> {
        let forced =
            self.kernels.clone().or_else(|| std::env::var(kernels::OVERRIDE).ok().filter(|v| !v.is_empty()));
        let Some(name) = forced else { return Ok(kernels::best()) };
        kernels::by_name(&name).ok_or_else(|| {
            let names: Vec<_> = kernels::supported().map(|k| format!("`{}`", k.isa())).collect();
            Error::option(
                "kernels",
                format!("one that this CPU has: {}", names.join(", ")),
                format!("`{name}`"),
            )
        })
    }
}

/// Chooses the precision of each node by its name; see [`NativeOptions::keep_f32`].
struct ByName<'a> {
    graph: &'a Graph,
    options: &'a NativeOptions,
}

impl plan::Precisions for ByName<'_> {
    fn of(&self, node: &Node) -> Precision {
        let quantizable = match &node.op {
            Op::Linear { weight, .. } => self.graph.parameter(*weight).quantizable,
            Op::Vocabulary { decoder, .. } => self.graph.parameter(*decoder).quantizable,
            Op::Attention { .. } => true,
            _ => false,
        };
        if quantizable { self.options.precision_of(node) } else { Precision::F32 }
    }
}

/// The embedding tables that stay in int8 in memory.
fn int8_tables(graph: &Graph, options: &NativeOptions) -> Vec<ParameterId> {
    let of_node = |node: &Node| match node.op {
        Op::WordEmbedding { .. } | Op::PositionAndType { .. }
            if options.precision_of(node) == Precision::Int8 =>
        {
            node.op.parameters()
        }
        _ => Vec::new(),
    };
    let tables = graph.nodes.iter().flat_map(of_node);
    tables.filter(|&table| graph.parameter(table).quantizable).collect()
}

/// The CPU engine.
pub struct NativeBackend {
    graph: Graph,
    plan: Plan,
    weights: Arc<Weights>,
    kernels: &'static dyn Kernels,
    options: NativeOptions,
    ops: Vec<OpInfo>,
    /// Number of columns of the widest linear.
    widest: usize,
    scratch: Scratch,
}

/// Multiply-adds of one measurement of the peak, which takes less than a millisecond on the slowest vector
/// kernels, and the number of measurements, of which the best one counts.
const PEAK_MACS: u64 = 20_000_000;
const PEAK_RUNS: usize = 50;

/// Most rows of a block. Each block reads all weights from L3 or memory once, which favours large blocks. But
/// the block's own numbers (5 kB a row in MobileBERT) should stay in L2.
const BLOCK_ROWS: usize = 128;

/// Fewest rows of a block, unless fewer are left. Each block reads all weights, so smaller ones gain little.
const FEWEST_ROWS: usize = 8;

/// A thread's share of at least this many rows is cut at strips of keys.
const FEW_ROWS: usize = 64;

impl NativeBackend {
    /// Plans the graph and packs its weights.
    ///
    /// # Errors
    /// The errors of the weight source, and [`ErrorKind::Option`] if the forced kernels do not exist or this
    /// CPU cannot run them.
    pub fn load(graph: Graph, weights: &dyn WeightSource, options: NativeOptions) -> Result<Self> {
        let kernels = options.find_kernels()?;
        let plan = plan_for(&graph, &options, false)?;
        let tables = int8_tables(&graph, &options);
        let weights = Arc::new(Weights::load(&graph, &plan, weights, &tables)?);
        let widest = weights.widest();
        let ops = ops::ops(&graph, &plan, &weights, kernels.isa());
        Ok(Self { graph, plan, weights, kernels, options, ops, widest, scratch: Scratch::new() })
    }

    /// The instruction set that its kernels use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Bytes of memory of all weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Runs the graph and writes its output to `output`, row-major. After a call with a batch of some size,
    /// calls with batches up to that size allocate nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Backend`] if the graph cannot be planned for an observer.
    ///
    /// # Panics
    /// If `output` is shorter than [`NativeBackend::output_len`].
    pub fn run_into(&self, request: &Request<'_>, output: &mut [f32]) -> Result<()> {
        if request.observer.is_some() {
            let plan = plan_for(&self.graph, &self.options, true)?;
            let arena = self.forward(&plan, request, output, Arena::default());
            self.observe(&plan, request, &arena, output);
            return Ok(());
        }
        let arena = self.forward(&self.plan, request, output, self.scratch.take());
        self.scratch.put(arena);
        Ok(())
    }

    /// Number of numbers in the output of a request.
    pub fn output_len(&self, request: &Request<'_>) -> usize {
        let rows = self.plan.stages.last().map_or(0, |stage| rows(stage, request));
        rows * self.graph.width(self.graph.output())
    }

    fn forward(&self, plan: &Plan, request: &Request<'_>, output: &mut [f32], mut arena: Arena) -> Arena {
        let tokens = request.batch.tokens();
        let available = parallel::threads();
        arena.layout.fill(request.batch, block_rows(tokens, available));
        let selected = plan.stages.last().map_or(0, |stage| rows(stage, request));
        let selected_block = selected_block(selected, available);
        let participants = available.min(arena.layout.blocks.len()).max(1);
        arena.fit(plan, self.widest, (selected_block, selected.div_ceil(selected_block)), participants);
        let pass = Pass {
            kernels: self.kernels,
            plan,
            weights: &self.weights,
            request,
            arena: &arena,
            selected_block,
            output: Mutex::new(&mut output[..self.output_len(request)]),
        };
        threads::run(&arena.progress, participants, plan.stages.len(), &pass);
        arena
    }

    /// Shows every value to the observer, in the order of the graph.
    fn observe(&self, plan: &Plan, request: &Request<'_>, arena: &Arena, output: &[f32]) {
        let Some(observer) = request.observer else { return };
        let last = plan.stages.last().map_or(0, |stage| rows(stage, request));
        let pass = Pass {
            kernels: self.kernels,
            plan,
            weights: &self.weights,
            request,
            arena,
            selected_block: selected_block(last, parallel::threads()),
            output: Mutex::new(&mut []),
        };
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let stage = &plan.stages[plan.stage_of[index]];
            let mut values = vec![0.0; rows(stage, request) * node.width];
            if let Some(place) = plan.places[index] {
                for (row, to) in values.chunks_exact_mut(node.width).enumerate() {
                    pass.row_of(stage, row, place, to);
                }
            }
            observer.observe(node, if index == self.graph.output().0 { output } else { &values });
        }
    }
}

/// Rows of a block. Each thread gets an equal share of the rows, which is cut into equal blocks of at most
/// [`BLOCK_ROWS`].
///
/// Blocks of a large share are multiples of 16 rows, so that no two of them share a strip of keys. A small share is
/// a multiple of 4 rows, because equal shares are worth more than the copies into a shared strip cost
/// (docs/kernels.md, "Few tokens").
fn block_rows(rows: usize, threads: usize) -> usize {
    let share = rows.div_ceil(threads).max(FEWEST_ROWS);
    let alignment = if share < FEW_ROWS { layout::FEWEST } else { 16 };
    share.div_ceil(share.div_ceil(BLOCK_ROWS)).next_multiple_of(alignment)
}

fn selected_block(rows: usize, threads: usize) -> usize {
    block_rows(rows, threads).min(rows).max(1)
}

fn plan_for(graph: &Graph, options: &NativeOptions, observed: bool) -> Result<Plan> {
    Plan::new(graph, &ByName { graph, options }, observed).map_err(|e| {
        ErrorKind::Backend { backend: NAME, node: "plan".to_owned(), source: Box::new(e) }.into()
    })
}

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn precision(&self) -> Precision {
        self.options.precision
    }

    fn kernel(&self) -> &str {
        self.isa().name()
    }

    fn measure_peak_gmacs(&self) -> f64 {
        let kernel = match self.precision() {
            Precision::Int8 => Kernel::GemmInt8,
            Precision::Bf16 => Kernel::GemmBf16,
            Precision::F32 => Kernel::GemmF32,
        };
        let once = |_| {
            let start = Instant::now();
            self.kernels.peak(kernel, PEAK_MACS) as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        (0..PEAK_RUNS).map(once).fold(0.0, f64::max)
    }

    fn ops(&self) -> &[OpInfo] {
        &self.ops
    }

    fn arena_bytes(&self) -> usize {
        self.scratch.bytes()
    }

    fn trim(&self) {
        self.scratch.trim();
    }

    fn prefix(&self, graph: &Graph) -> Option<Box<dyn Backend>> {
        self.share(graph).map(|backend| Box::new(backend) as _)
    }

    fn run(&self, request: &Request<'_>) -> Result<Vec<f32>> {
        let mut output = vec![0.0; self.output_len(request)];
        self.run_into(request, &mut output)?;
        Ok(output)
    }
}

impl std::fmt::Debug for NativeBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeBackend")
            .field("isa", &self.isa())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
