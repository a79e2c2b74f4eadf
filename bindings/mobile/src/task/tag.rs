//! Token classification.

use std::sync::Arc;

use mobilebert_bindings::options::changed;
use mobilebert_bindings::tag::entities;

use crate::call::{Cancellation, watched};
use crate::failure::Result;
use crate::options::{self, NamedOption};
use crate::task::{Piece, opening};

/// A pipeline that labels the words of texts.
#[derive(Debug, uniffi::Object)]
pub(crate) struct TokenClassification {
    pipeline: mobilebert_bindings::TokenClassification,
}

/// A labelled piece of a text.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Entity {
    /// The label.
    pub label: String,
    /// True if tokens were joined.
    pub grouped: bool,
    /// The mean score of the parts.
    pub score: f32,
    /// The piece of the text.
    pub word: String,
    /// Its place.
    pub place: Piece,
}

opening!(TokenClassification, mobilebert_bindings::TagOptions, entities);

#[uniffi::export]
impl TokenClassification {
    /// Finds the entities of texts.
    fn entities(
        &self,
        texts: Vec<String>,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vec<Vec<Entity>>> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            entities(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        Ok(found.into_iter().map(|entities| entities.into_iter().map(Entity::from).collect()).collect())
    }
}

impl From<mobilebert_bindings::tag::Entity> for Entity {
    fn from(found: mobilebert_bindings::tag::Entity) -> Self {
        let mobilebert_bindings::tag::Entity { label, grouped, score, word, place } = found;
        Self { label, grouped, score, word, place: place.into() }
    }
}
