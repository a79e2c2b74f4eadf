//! Sequence classification: the first token's state through the pooler and a linear.

use crate::config::Architecture;
use crate::graph::{Activation, Op, Rows, ValueId};
use crate::model::{Builder, Dense};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    let width = b.config.hidden_size;
    let mut pooled = b.push("pooler", Op::Select { input: hidden, rows: Rows::First }, width);
    let dense = match &b.config.architecture {
        Architecture::Bert => true,
        Architecture::MobileBert(m) => m.classifier_activation,
    };
    if dense {
        pooled = b.linear(pooled, Dense::new("pooler.dense", width).activation(Activation::Tanh));
    }
    b.linear(pooled, Dense::new("classifier", b.config.labels.len()).keep_f32())
}
