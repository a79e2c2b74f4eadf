//! Vectors of texts.

use std::sync::Arc;

use mobilebert_bindings::Failure;
use mobilebert_bindings::embed::{Matrix, states, vectors};
use mobilebert_bindings::options::changed;

use crate::call::{Cancellation, watched};
use crate::failure::{Result, count};
use crate::options::{self, NamedOption};
use crate::task::opening;

/// A pipeline that turns texts into vectors.
#[derive(Debug, uniffi::Object)]
pub(crate) struct Embedder {
    pipeline: mobilebert_bindings::Embedder,
}

/// The vectors of a list of texts.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Vectors {
    /// The numbers row after row, each as 4 bytes, the lowest first. A list of numbers would be a list of
    /// objects in Kotlin.
    pub values: Vec<u8>,
    /// The number of columns.
    pub columns: i32,
    /// For each text, true if its end was not read.
    pub truncated: Vec<bool>,
}

/// The hidden states of one text: a row for each token.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct States {
    /// The numbers, as in [`Vectors::values`].
    pub values: Vec<u8>,
    /// The number of columns.
    pub columns: i32,
    /// True if the end of the text was not read.
    pub truncated: bool,
}

opening!(Embedder, mobilebert_bindings::EmbedOptions, vectors);

#[uniffi::export]
impl Embedder {
    /// Computes the vector of each text.
    fn vectors(
        &self,
        texts: Vec<String>,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vectors> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        // Vectors of which it is known that they cannot be returned are not computed.
        returnable([(self.pipeline.dimensions(), texts.len())])?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            vectors(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        let (values, columns) = written(&found.matrix);
        Ok(Vectors { values, columns, truncated: found.truncated })
    }

    /// Computes the hidden states of each text.
    fn states(
        &self,
        texts: Vec<String>,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vec<States>> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            states(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        returnable(found.iter().map(|states| (states.matrix.values.len(), 1)))?;
        let states = |states: mobilebert_bindings::embed::States| {
            let (values, columns) = written(&states.matrix);
            States { values, columns, truncated: states.truncated }
        };
        Ok(found.into_iter().map(states).collect())
    }

    /// Returns the numbers in a vector.
    fn dimensions(&self) -> i32 {
        count(self.pipeline.dimensions())
    }
}

/// Checks that a call can return rows of numbers, each given as its numbers and how often there are so many.
/// All that a call returns crosses the border in one piece, whose size is a whole number of Kotlin.
///
/// # Errors
/// `input`, which asks for a smaller list.
fn returnable(rows: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
    let bytes = rows.into_iter().fold(0, |sum: usize, (numbers, times)| {
        let row = numbers.saturating_mul(size_of::<f32>()).saturating_add(BESIDE_ROW);
        sum.saturating_add(row.saturating_mul(times))
    });
    fits(bytes)
}

/// Checks that the results of a call, which have some `bytes`, can be returned.
///
/// # Errors
/// `input`, which asks for a smaller list.
pub(super) fn fits(bytes: usize) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let problem = format!(
        "the results have some {bytes} bytes, and a call can return {MOST_BYTES}; pass a smaller list of texts at \
         a time"
    );
    Err(Failure::input("texts", problem).into())
}

/// The most bytes that the results of a call are made of. A few more are needed for lengths.
pub(super) const MOST_BYTES: usize = i32::MAX as usize - 64;
/// More bytes than a row needs beside its numbers.
const BESIDE_ROW: usize = 16;

fn written(matrix: &Matrix) -> (Vec<u8>, i32) {
    (matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect(), count(matrix.columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_no_call_can_return_are_refused() {
        returnable([(384, 1_000_000), (0, 5)]).unwrap();
        returnable([]).unwrap();
        for rows in [[(384, 1_400_000)].as_slice(), &[(MOST_BYTES / 8, 1); 2], &[(usize::MAX, usize::MAX)]] {
            let crate::failure::Failure::Failed { code, place, .. } =
                returnable(rows.iter().copied()).unwrap_err();
            assert_eq!((code.as_str(), place.as_deref()), ("input", Some("texts")));
        }
    }
}
