//! Builds multi-head self-attention and its output projection.

use super::bottleneck::LayerInputs;
use super::{Builder, Dense};
use crate::graph::{Op, ValueId};

pub(super) fn build(b: &mut Builder<'_>, layer: &str, inputs: &LayerInputs) -> ValueId {
    let width = b.config.true_hidden_size();
    let heads = b.config.num_attention_heads;
    let project = |b: &mut Builder<'_>, role: &str, input| {
        b.linear(input, Dense::new(&format!("{layer}.attention.self.{role}"), width))
    };
    let query = project(b, "query", inputs.query_key);
    let key = project(b, "key", inputs.query_key);
    let value = project(b, "value", inputs.value);
    let context =
        b.push(&format!("{layer}.attention.self"), Op::Attention { query, key, value, heads }, width);

    let dense = format!("{layer}.attention.output.dense");
    let norm = format!("{layer}.attention.output.LayerNorm");
    b.linear(context, Dense::new(&dense, width).residual(inputs.residual).norm(&norm, b.config.norm()))
}
