//! Multiple choice has one logit for each sequence, which is one choice of several.

use crate::graph::ValueId;
use crate::model::Builder;

use super::sequence;

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    sequence::pooled(b, hidden, b.config.family.choice, 1)
}
