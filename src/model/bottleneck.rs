//! Builds MobileBERT's input bottlenecks (paper, section 3.1), which are linear maps from `hidden_size` to
//! `intra_bottleneck_size`.

use super::{Builder, Dense};
use crate::graph::ValueId;

/// The inputs of the attention block of a layer.
pub(super) struct LayerInputs {
    /// The input of the query and of the key.
    pub(super) query_key: ValueId,
    /// The input of the value.
    pub(super) value: ValueId,
    /// The residual of the attention output.
    pub(super) residual: ValueId,
}

pub(super) fn build(b: &mut Builder<'_>, layer: &str, hidden: ValueId) -> LayerInputs {
    let m = match &b.config.mobilebert {
        Some(m) if m.use_bottleneck => m,
        _ => return LayerInputs { query_key: hidden, value: hidden, residual: hidden },
    };
    let residual = bottleneck(b, &format!("{layer}.bottleneck.input"), hidden);
    if m.use_bottleneck_attention {
        LayerInputs { query_key: residual, value: residual, residual }
    } else if m.key_query_shared_bottleneck {
        let query_key = bottleneck(b, &format!("{layer}.bottleneck.attention"), hidden);
        LayerInputs { query_key, value: hidden, residual }
    } else {
        LayerInputs { query_key: hidden, value: hidden, residual }
    }
}

fn bottleneck(b: &mut Builder<'_>, name: &str, hidden: ValueId) -> ValueId {
    let (dense, norm) = (format!("{name}.dense"), format!("{name}.LayerNorm"));
    let out = b.config.true_hidden_size();
    b.linear(hidden, Dense::new(&dense, out).norm(&norm, b.config.norm()))
}
