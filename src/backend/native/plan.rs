//! From a graph to steps: what is merged, what is folded, which buffer holds what, and where the threads have
//! to meet.
//!
//! * Linears that read the same value become one matrix product, if nothing but a bias and a NoNorm follows
//!   them.
//! * NoNorm behind a linear folds into its scales, its bias and the factor of its residual.
//! * Steps between two attentions map rows to rows, so they form a *stage*: a thread carries a block of rows
//!   through all of it. Only keys and values are read across blocks, and they are complete when the stage is.

use super::homes::assign;
use super::planner::Planner;
use crate::backend::Precision;
use crate::graph::{Activation, Graph, Node, Norm, ParameterId, Rows, ValueId};
use crate::kernels::Levels;

/// What decides the precision of nodes: one for all, and f32 for exceptions.
pub(super) trait Precisions {
    /// The precision of a linear. An attention is in int8 or f32.
    fn of(&self, node: &Node) -> Precision;
}

/// Index into [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BufferId(pub(super) usize);

/// Columns of a buffer of f32, from `column` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) buffer: BufferId,
    pub(super) column: usize,
}

/// What a buffer holds for each row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// So many f32.
    Float(usize),
    /// So many bytes, and as many ranges.
    Bytes(usize, usize),
}

/// Who owns a buffer, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The block of rows: it is read in a later stage than it is written in.
    Block(usize),
    /// The thread: every block overwrites it, so it stays in the thread's cache.
    Thread(usize),
}

/// What a linear reads, and its weights in the same precision: an index into [`Plan::int8`], [`Plan::bf16`]
/// or [`Plan::f32`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Product {
    Int8(BufferId, usize),
    Bf16(BufferId, usize),
    F32(Place, usize),
}

/// A matrix product and what is fused behind it.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// The nodes that it computes, for names.
    pub(super) nodes: Vec<usize>,
    pub(super) product: Product,
    pub(super) activation: Activation,
    /// The value that is added and what multiplies it (1 if absent).
    pub(super) residual: Option<(Place, Option<ParameterId>)>,
    pub(super) norm: Option<Norm>,
    /// The result in f32, if anybody reads it.
    pub(super) to: Option<BufferId>,
    /// The result quantised, if anybody reads that.
    pub(super) quantized: Option<(BufferId, Levels)>,
}

/// How queries reach the attention.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    Int8(BufferId),
    F32(Place),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Embed { table: ParameterId, trigram: bool, to: BufferId },
    PositionAndType { input: Place, tables: (ParameterId, Option<ParameterId>), norm: Norm, to: BufferId },
    Linear(Linear),
    Quantize { from: Place, width: usize, to: BufferId, levels: Levels },
    QuantizeHeads { from: Place, heads: Heads, to: BufferId },
    PackKeysValues { key: Place, value: Place, heads: Heads },
    Attention { query: Query, heads: Heads, to: BufferId },
    Gather { from: Place, to: BufferId },
    Emit { from: Place, width: usize },
}

/// Heads of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heads {
    /// Which attention, counted from the start.
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) size: usize,
    pub(super) int8: bool,
}

/// A checkpoint tensor; the weights of a product are the rows of several below each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) weight: ParameterId,
    /// Whether the tensor is `[inputs, outputs]`.
    pub(super) transposed: bool,
    pub(super) bias: Option<ParameterId>,
    /// NoNorm that is folded in.
    pub(super) fold: Option<Norm>,
}

/// Steps that a block of rows goes through without waiting for the others.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) steps: Vec<Step>,
    /// Index of the first step among all steps of the plan.
    pub(super) first_op: usize,
    /// The node that each step belongs to.
    pub(super) nodes: Vec<usize>,
    /// Rows that were selected instead of all tokens, and which.
    pub(super) selected: Option<Rows>,
}

/// Everything that does not depend on the batch.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// Weights of the int8 products, and of those in bf16 and f32.
    pub(super) int8: Vec<Vec<Part>>,
    pub(super) bf16: Vec<Vec<Part>>,
    pub(super) f32: Vec<Vec<Part>>,
    /// Where each buffer lives.
    pub(super) buffers: Vec<Home>,
    /// Whether selected rows have blocks of their own, because an observer will read them.
    pub(super) observed: bool,
    /// Content of the buffers that each block owns, and of those that each thread owns.
    pub(super) block: Vec<Content>,
    pub(super) thread: Vec<Content>,
    /// The stage that computes each node.
    pub(super) stage_of: Vec<usize>,
    /// Where each value is found in f32; all of them only if the plan was made for an observer.
    pub(super) places: Vec<Option<Place>>,
}

/// Why a graph cannot be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unplannable {
    #[error("the graph has no nodes")]
    Empty,
    #[error("node `{0}` reads selected rows across tokens, which no stage can")]
    AcrossSelected(String),
    #[error("node `{reader}` reads value {value}, which no node before it computes")]
    Unwritten { reader: String, value: usize },
}

impl Plan {
    /// Plans a graph. For an observer every value is kept, in f32 and in a buffer of its own; the steps are
    /// the same.
    pub(super) fn new(
        graph: &Graph,
        precisions: &dyn Precisions,
        observed: bool,
    ) -> Result<Self, Unplannable> {
        if graph.nodes.is_empty() {
            return Err(Unplannable::Empty);
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(ValueId(value)) = node.op.inputs().find(|input| input.0 >= index) {
                return Err(Unplannable::Unwritten { reader: node.name.clone(), value });
            }
        }
        let mut planner = Planner::new(graph, precisions, observed);
        for node in 0..graph.nodes.len() {
            planner.node(node)?;
        }
        if let Some(from) = planner.places[graph.output().0] {
            let width = graph.width(graph.output());
            planner.push(Step::Emit { from, width });
        }
        let (mut stages, contents) = (planner.stages, planner.contents);
        let mut first = 0;
        for stage in &mut stages {
            stage.first_op = first;
            first += stage.steps.len();
        }
        let (buffers, block, thread) = assign(&stages, &contents, observed);
        Ok(Self {
            stages,
            int8: planner.int8,
            bf16: planner.bf16,
            f32: planner.f32,
            buffers,
            observed,
            block,
            thread,
            stage_of: planner.stage_of,
            places: planner.places,
        })
    }

    /// What profiles call the barrier: the index behind the last step.
    pub(super) fn barrier(&self) -> usize {
        self.stages.iter().map(|stage| stage.steps.len()).sum()
    }
}

impl Step {
    /// Buffers that are read and written.
    pub(super) fn buffers(&self) -> Vec<BufferId> {
        match self {
            Step::Embed { to, .. } => vec![*to],
            Step::PositionAndType { input, to, .. } => vec![input.buffer, *to],
            Step::Linear(linear) => {
                let input = match linear.product {
                    Product::Int8(bytes, _) | Product::Bf16(bytes, _) => bytes,
                    Product::F32(place, _) => place.buffer,
                };
                let residual = linear.residual.map(|r| r.0.buffer);
                let outputs = linear.to.into_iter().chain(linear.quantized.map(|q| q.0));
                std::iter::once(input).chain(residual).chain(outputs).collect()
            }
            Step::Quantize { from, to, .. }
            | Step::QuantizeHeads { from, to, .. }
            | Step::Gather { from, to } => {
                vec![from.buffer, *to]
            }
            Step::PackKeysValues { key, value, .. } => vec![key.buffer, value.buffer],
            Step::Attention { query, to, .. } => match query {
                Query::Int8(bytes) => vec![*bytes, *to],
                Query::F32(place) => vec![place.buffer, *to],
            },
            Step::Emit { from, .. } => vec![from.buffer],
        }
    }
}
