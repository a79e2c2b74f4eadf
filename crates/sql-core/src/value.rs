//! What a model says about one text or one pair of texts.

use mobilebert::{Answer, Classification, Entity, Fill};

/// A result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Labels(Classification),
    /// `None` if the context does not say.
    Answer(Option<Answer>),
    Entities(Vec<Entity>),
    Fills(Vec<Vec<Fill>>),
    Vector(Vec<f32>),
    Count(i32),
    /// The model cannot read the text, and such rows are NULL.
    Failed,
}

impl Value {
    /// Returns about how much memory the value takes beyond its own size.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Labels(found) => found.labels.iter().map(|label| label.label.len() + 32).sum(),
            Self::Answer(found) => found.as_ref().map_or(0, |answer| answer.answer.len()),
            Self::Entities(found) => found.iter().map(|e| e.label.len() + e.word.len() + 80).sum(),
            Self::Fills(found) => {
                let each = found.iter().flatten();
                each.map(|fill| fill.sequence.len() + fill.token_str.len() + 64).sum::<usize>()
            }
            Self::Vector(found) => size_of_val(&found[..]),
            Self::Count(_) | Self::Failed => 0,
        }
    }
}
