//! Token classification has one logit for each label and token.

use crate::graph::ValueId;
use crate::model::{Builder, Dense};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    b.linear(hidden, Dense::new("classifier", b.config.labels.len()).keep_f32())
}
