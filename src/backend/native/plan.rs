//! Turns a graph into steps. The plan decides which linears are merged, which norms are folded into weights,
//! which buffer holds which value, and where the threads wait for each other.
//!
//! * Linears that read the same value become one matrix product, if nothing but a bias and a NoNorm follows
//!   them.
//! * A NoNorm after a linear is folded into its scales, its bias and the factor of its residual.
//! * The steps between two attentions map rows to rows, so they form a *stage*: a thread carries a block of
//!   rows through all of it. Only keys and values are read across blocks, and the stage that writes them ends
//!   before the stage that reads them begins.

use super::homes::assign;
use super::planner::Planner;
use crate::backend::Precision;
use crate::graph::{Activation, Graph, Node, Norm, ParameterId, Rows, ValueId};
use crate::kernels::Levels;

/// Chooses the precision of each node.
pub(super) trait Precisions {
    /// The precision of a node. An attention is in f32 unless this is int8.
    fn of(&self, node: &Node) -> Precision;
}

/// Index into [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BufferId(pub(super) usize);

/// The columns of a buffer of f32 from `column` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) buffer: BufferId,
    pub(super) column: usize,
}

/// The content of a buffer for each row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// This many f32.
    Float(usize),
    /// This many bytes, and this many ranges.
    Bytes(usize, usize),
}

/// The owner of a buffer, and the buffer's index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The block of rows, because a later stage reads the buffer.
    Block(usize),
    /// The thread. Every block overwrites the buffer, so it stays in the thread's cache.
    Thread(usize),
}

/// The input of a linear and its weights, in the same precision. The weights are an index into
/// [`Plan::int8`], [`Plan::bf16`] or [`Plan::f32`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Product {
    Int8(BufferId, usize),
    Bf16(BufferId, usize),
    F32(Place, usize),
}

/// A matrix product and the operations that are fused with it.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// The nodes that it computes. Profiles use their names.
    pub(super) nodes: Vec<usize>,
    pub(super) product: Product,
    pub(super) activation: Activation,
    /// The value that is added, and the parameter that multiplies it (1 if absent).
    pub(super) residual: Option<(Place, Option<ParameterId>)>,
    pub(super) norm: Option<Norm>,
    /// The result in f32, if it is read.
    pub(super) to: Option<BufferId>,
    /// The quantised result, if it is read.
    pub(super) quantized: Option<(BufferId, Levels)>,
}

/// The queries of an attention.
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
    /// The index of the attention in the graph.
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) size: usize,
    pub(super) int8: bool,
}

/// A tensor of the checkpoint. The weights of a product are the rows of one or more of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) weight: ParameterId,
    /// Whether the tensor is `[inputs, outputs]`.
    pub(super) transposed: bool,
    pub(super) bias: Option<ParameterId>,
    /// The NoNorm that is folded into it.
    pub(super) fold: Option<Norm>,
}

/// Steps that a block of rows goes through without waiting for other blocks.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) steps: Vec<Step>,
    /// Index of the first step among all steps of the plan.
    pub(super) first_op: usize,
    /// The node that each step belongs to.
    pub(super) nodes: Vec<usize>,
    /// The rows that the stage works on, if they are not all tokens.
    pub(super) selected: Option<Rows>,
}

/// Everything that does not depend on the batch.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// The weights of the products in int8, in bf16 and in f32.
    pub(super) int8: Vec<Vec<Part>>,
    pub(super) bf16: Vec<Vec<Part>>,
    pub(super) f32: Vec<Vec<Part>>,
    /// The home of each buffer.
    pub(super) buffers: Vec<Home>,
    /// Whether the plan was made for an observer. Then selected rows have blocks of their own, which it
    /// reads.
    pub(super) observed: bool,
    /// The contents of the buffers that each block owns, and of those that each thread owns.
    pub(super) block: Vec<Content>,
    pub(super) thread: Vec<Content>,
    /// The stage that computes each node.
    pub(super) stage_of: Vec<usize>,
    /// The place of each value that is written in f32. Only a plan for an observer has one for every value.
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
    /// Plans a graph. A plan for an observer keeps every value in f32, in a buffer of its own, and computes
    /// the same results.
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

    /// The index of the barrier in profiles, which comes after the last step.
    pub(super) fn barrier(&self) -> usize {
        self.stages.iter().map(|stage| stage.steps.len()).sum()
    }
}

impl Step {
    /// The buffers that the step reads and writes.
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
