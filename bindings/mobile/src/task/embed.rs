//! Vectors of texts.

use std::sync::Arc;

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
        let options = changed(self.pipeline.options(), &options::map(options))?;
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
        let options = changed(self.pipeline.options(), &options::map(options))?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            states(&self.pipeline, &texts, is_list, &options, watch)
        })?;
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

fn written(matrix: &Matrix) -> (Vec<u8>, i32) {
    (matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect(), count(matrix.columns))
}
