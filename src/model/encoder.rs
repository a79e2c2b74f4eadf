//! Builds one layer of the encoder, and the loop over all layers.

use super::{Builder, attention, bottleneck, ffn};
use crate::graph::ValueId;

pub(super) fn build(b: &mut Builder<'_>, embedded: ValueId) -> ValueId {
    (0..b.config.num_hidden_layers)
        .fold(embedded, |hidden, i| layer(b, &format!("encoder.layer.{i}"), hidden))
}

fn layer(b: &mut Builder<'_>, name: &str, hidden: ValueId) -> ValueId {
    let inputs = bottleneck::build(b, name, hidden);
    let attended = attention::build(b, name, &inputs);
    ffn::build(b, name, attended, hidden)
}
