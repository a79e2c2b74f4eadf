//! Sequence classification passes the first token's state through a linear with an activation, and then
//! through an output linear.

use crate::config::Pooled;
use crate::graph::{Op, Rows, ValueId};
use crate::model::{Builder, Dense};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    pooled(b, hidden, b.config.family.sequence, b.config.labels.len())
}

/// Builds a head on the first token's state, with this number of outputs.
pub(super) fn pooled(b: &mut Builder<'_>, hidden: ValueId, head: Pooled, outputs: usize) -> ValueId {
    let width = b.config.hidden_size;
    let mut pooled = b.push("pooler", Op::Select { input: hidden, rows: Rows::First }, width);
    if b.config.mobilebert.as_ref().is_none_or(|m| m.classifier_activation) {
        pooled = b.linear(pooled, Dense::new(head.dense, width).activation(head.activation));
    }
    b.linear(pooled, Dense::new(head.out, outputs).keep_f32())
}
