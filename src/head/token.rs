//! Token classification: one logit per label for each token.

use crate::graph::ValueId;
use crate::model::{Builder, Dense};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    b.linear(hidden, Dense::new("classifier", b.config.labels.len()).keep_f32())
}
