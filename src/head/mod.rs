//! Turns hidden states into logits: the task heads, as graph nodes on top of the encoder.

mod masked_lm;
mod multiple_choice;
mod qa;
mod sequence;
mod token;

use crate::config::Head;
use crate::graph::ValueId;
use crate::model::Builder;

pub(crate) fn build(b: &mut Builder<'_>, hidden: ValueId, head: Head) -> ValueId {
    match head {
        Head::None => hidden,
        Head::QuestionAnswering => qa::build(b, hidden),
        Head::SequenceClassification => sequence::build(b, hidden),
        Head::TokenClassification => token::build(b, hidden),
        Head::MaskedLm => masked_lm::build(b, hidden),
        Head::MultipleChoice => multiple_choice::build(b, hidden),
    }
}
