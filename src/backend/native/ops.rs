//! The names of a plan's steps and how much they compute, for profiles.

use super::layout::Layout;
use super::pass::BlockRows;
use super::plan::{Plan, Product, Step};
use super::weights::Weights;
use crate::graph::Graph;
use crate::kernels::{Isa, Kernel};
use crate::profile::{OpInfo, OpKind};

impl Step {
    /// Multiply-adds of the step for one block.
    pub(super) fn macs(&self, weights: &Weights, layout: &Layout, block: BlockRows) -> u64 {
        let macs = match self {
            Step::Linear(linear) => {
                let [inputs, outputs] = weights.shape(linear.product);
                block.rows * inputs * outputs
            }
            Step::Attention { heads, .. } => {
                let segments = layout.segments(&layout.blocks[block.index]).iter();
                let pairs: usize = segments.map(|s| s.rows * layout.sequences[s.sequence].tokens).sum();
                2 * pairs * heads.count * heads.size
            }
            _ => 0,
        };
        macs as u64
    }
}

/// One entry for each step of each stage, and one for the barrier at the end.
pub(super) fn ops(graph: &Graph, plan: &Plan, weights: &Weights, isa: Isa) -> Vec<OpInfo> {
    let steps = plan.stages.iter().flat_map(|stage| stage.steps.iter().zip(&stage.nodes));
    let op = |(step, node): (&Step, &usize)| {
        let name = |node: usize| graph.nodes[node].name.as_str();
        let mut op = OpInfo {
            name: name(*node).to_owned(),
            kind: OpKind::Embedding,
            layer: graph.nodes[*node].layer(),
            shape: [0, 0],
            kernel: String::new(),
            weight_bytes: 0,
        };
        match step {
            Step::Linear(linear) => {
                op.kind = OpKind::Linear;
                op.name = linear.nodes.iter().map(|&n| name(n)).collect::<Vec<_>>().join("+");
                op.shape = weights.shape(linear.product);
                (op.kernel, op.weight_bytes) = match linear.product {
                    Product::Int8(_, w) => (Kernel::GemmInt8.name(isa), weights.int8[w].bytes()),
                    Product::Bf16(_, w) => (Kernel::GemmBf16.name(isa), weights.bf16[w].bytes()),
                    Product::F32(_, w) => (Kernel::GemmF32.name(isa), weights.f32[w].bytes()),
                };
            }
            Step::Attention { heads, .. } => {
                op.kind = OpKind::Attention;
                op.shape = [heads.count, heads.size];
                op.kernel = if heads.int8 { Kernel::AttentionInt8 } else { Kernel::AttentionF32 }.name(isa);
            }
            Step::Quantize { .. } | Step::QuantizeHeads { .. } => {
                op.kind = OpKind::Quantize;
                op.name.push_str(" (quantize)");
                op.kernel = Kernel::Quantize.name(isa);
            }
            Step::PackKeysValues { heads, .. } => {
                op.kind = OpKind::Pack;
                op.name.push_str(" (pack)");
                op.kernel = if heads.int8 { Kernel::PackKeys.name(isa) } else { String::new() };
            }
            Step::Gather { .. } => op.kind = OpKind::Select,
            Step::Emit { .. } => {
                op.kind = OpKind::Select;
                op.name.push_str(" (output)");
            }
            Step::PositionAndType { .. } => op.kernel = Kernel::PositionAndType.name(isa),
            Step::Embed { .. } => {}
        }
        op
    };
    let barrier = OpInfo {
        name: "barrier".to_owned(),
        kind: OpKind::Barrier,
        layer: None,
        shape: [0, 0],
        kernel: String::new(),
        weight_bytes: 0,
    };
    steps.map(op).chain(std::iter::once(barrier)).collect()
}
