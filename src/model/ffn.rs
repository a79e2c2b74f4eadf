//! Builds the feed-forward networks. MobileBERT stacks several in each layer (paper, section 3.1) and widens
//! the output of the last one back to `hidden_size` through the output bottleneck.

use super::{Builder, Dense};
use crate::graph::{NormKind, ValueId};

/// Builds the feed-forward networks of a layer. `attention` is the output of the attention block. `hidden` is
/// the input of the layer, which is the residual of the output bottleneck.
pub(super) fn build(b: &mut Builder<'_>, layer: &str, attention: ValueId, hidden: ValueId) -> ValueId {
    let (stacked, bottleneck) = match &b.config.mobilebert {
        Some(m) => (m.num_feedforward_networks, m.use_bottleneck),
        None => (1, false),
    };
    let last_norm = b.config.norm_with(b.config.family.output_eps);
    let mut x = attention;
    for i in 0..stacked - 1 {
        x = ffn(b, &format!("{layer}.ffn.{i}"), x, b.config.norm());
    }
    x = ffn(b, layer, x, last_norm);
    if bottleneck {
        let dense = format!("{layer}.output.bottleneck.dense");
        let norm = format!("{layer}.output.bottleneck.LayerNorm");
        let out = b.config.hidden_size;
        x = b.linear(x, Dense::new(&dense, out).residual(hidden).norm(&norm, b.config.norm()));
    }
    x
}

fn ffn(b: &mut Builder<'_>, module: &str, x: ValueId, norm_kind: NormKind) -> ValueId {
    let config = b.config;
    let intermediate = format!("{module}.intermediate.dense");
    let wide = b.linear(x, Dense::new(&intermediate, config.intermediate_size).activation(config.hidden_act));
    let (dense, norm) = (format!("{module}.output.dense"), format!("{module}.output.LayerNorm"));
    b.linear(wide, Dense::new(&dense, config.true_hidden_size()).residual(x).norm(&norm, norm_kind))
}
