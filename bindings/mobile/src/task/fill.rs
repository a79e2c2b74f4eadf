//! Words for masks.

use std::sync::Arc;

use mobilebert_bindings::fill::fills;
use mobilebert_bindings::options::changed;

use crate::call::{Cancellation, watched};
use crate::failure::Result;
use crate::options::{self, NamedOption};
use crate::task::embed::fits;
use crate::task::opening;

/// A pipeline that finds words for masks.
#[derive(Debug, uniffi::Object)]
pub(crate) struct FillMask {
    pipeline: mobilebert_bindings::FillMask,
}

/// A word for a mask.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Fill {
    /// The text with the word in the mask's place.
    pub sequence: String,
    /// The score.
    pub score: f32,
    /// The word's number in the vocabulary.
    pub token: i64,
    /// The word.
    pub word: String,
}

opening!(FillMask, mobilebert_bindings::FillOptions, fills);

#[uniffi::export]
impl FillMask {
    /// Finds words for each mask of each text.
    fn fills(
        &self,
        texts: Vec<String>,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vec<Vec<Vec<Fill>>>> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            fills(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        returnable(found.iter().flatten().flatten().map(|fill| (fill.sequence.len(), fill.token_str.len())))?;
        let words = |mask: Vec<mobilebert_bindings::fill::Fill>| mask.into_iter().map(Fill::from).collect();
        Ok(found.into_iter().map(|masks| masks.into_iter().map(words).collect()).collect())
    }

    /// Returns the token that stands for a word to be found, such as `[MASK]`.
    fn mask_token(&self) -> String {
        let tokenizer = self.pipeline.tokenizer();
        let mask = tokenizer.special_ids().mask.and_then(|id| tokenizer.id_to_token(id));
        mask.unwrap_or_default().to_owned()
    }
}

/// Checks that a call can return words, each given as the bytes of its sequence and its own. With all words
/// of a vocabulary, each repeats the text.
fn returnable(words: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
    fits(words.into_iter().fold(0, |sum: usize, (sequence, word)| {
        sum.saturating_add(sequence).saturating_add(word).saturating_add(BESIDE_WORD)
    }))
}

/// More bytes than a word needs beside its texts.
const BESIDE_WORD: usize = 32;

impl From<mobilebert_bindings::fill::Fill> for Fill {
    fn from(found: mobilebert_bindings::fill::Fill) -> Self {
        Self {
            sequence: found.sequence,
            score: found.score,
            token: found.token.into(),
            word: found.token_str,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::task::embed::MOST_BYTES;

    #[test]
    fn results_that_no_call_can_return_are_refused() {
        returnable([(2000, 8); 30_522]).unwrap();
        for words in [vec![(80_000, 8); 30_522], vec![(0, MOST_BYTES)], vec![(usize::MAX, usize::MAX); 2]] {
            let Failure::Failed { code, place, .. } = returnable(words).unwrap_err();
            assert_eq!((code.as_str(), place.as_deref()), ("input", Some("texts")));
        }
    }
}
