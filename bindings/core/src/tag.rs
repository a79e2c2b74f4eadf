//! Labelled pieces of texts.

use mobilebert::{Span, TagOptions, TokenClassification};

use crate::failure::Result;
use crate::list::{self, Inputs, Watch};
use crate::place::{Place, places};
use crate::texts::Texts;

/// A labelled piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The label, without a mark such as `B-` if tokens were joined.
    pub label: String,
    /// True if tokens were joined.
    pub grouped: bool,
    /// The mean score of the parts.
    pub score: f32,
    /// The piece of the text.
    pub word: String,
    /// Its place.
    pub place: Place,
}

/// Finds the entities of each text. `is_list` is false for a call with a single text.
///
/// # Errors
/// The errors of [`TokenClassification::tag_with`], for the first text that fails; `cancelled` and
/// `deadline_exceeded` as `watch` says.
pub fn entities(
    pipeline: &TokenClassification,
    texts: &dyn Texts,
    is_list: bool,
    options: &TagOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<Vec<Entity>>> {
    let prepare = |index: usize| pipeline.prepare_tag(texts.text(index), options);
    let inputs = Inputs::new(texts, is_list, "text");
    let mut results = Vec::new();
    list::run(pipeline.model(), inputs, watch, prepare, |index, found| {
        let pieces: Vec<Span> = found.iter().map(|entity| Span::new(entity.start, entity.end)).collect();
        let places = places(texts.text(index), &pieces)?;
        let entity = |(entity, place)| {
            let mobilebert::Entity { label, grouped, score, word, .. } = entity;
            Entity { label, grouped, score, word, place }
        };
        results.push(found.into_iter().zip(places).map(entity).collect());
        Ok(())
    })?;
    Ok(results)
}
