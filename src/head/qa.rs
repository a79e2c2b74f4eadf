//! Extractive question answering has a start logit and an end logit for each token.

use crate::graph::ValueId;
use crate::model::{Builder, Dense};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    b.linear(hidden, Dense::new("qa_outputs", 2).keep_f32())
}
