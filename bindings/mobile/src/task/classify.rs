//! Text classification.

use std::sync::Arc;

use mobilebert_bindings::Texts;
use mobilebert_bindings::classify::labels;
use mobilebert_bindings::options::changed;

use crate::call::{Cancellation, watched};
use crate::failure::Result;
use crate::options::{self, NamedOption};
use crate::task::opening;

/// A pipeline that classifies texts and pairs of texts.
#[derive(Debug, uniffi::Object)]
pub(crate) struct TextClassification {
    pipeline: mobilebert_bindings::TextClassification,
}

/// A label with its score.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Label {
    /// The label.
    pub label: String,
    /// The score.
    pub score: f32,
}

/// The labels of a text, best first.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Classification {
    /// The labels.
    pub labels: Vec<Label>,
    /// True if the end of the text was not read.
    pub truncated: bool,
}

opening!(TextClassification, mobilebert_bindings::ClassifyOptions, labels);

#[uniffi::export]
impl TextClassification {
    /// Classifies texts, or pairs if there are second texts.
    fn labels(
        &self,
        texts: Vec<String>,
        second: Option<Vec<String>>,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vec<Classification>> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        let second = second.as_ref().map(|second| second as &dyn Texts);
        let found = watched(timeout_millis, &cancellations, |watch| {
            labels(&self.pipeline, &texts, second, is_list, &options, watch)
        })?;
        Ok(found.into_iter().map(Classification::from).collect())
    }
}

impl From<mobilebert_bindings::classify::Classification> for Classification {
    fn from(found: mobilebert_bindings::classify::Classification) -> Self {
        let label = |found: mobilebert_bindings::classify::LabelScore| Label {
            label: found.label,
            score: found.score,
        };
        Self { labels: found.labels.into_iter().map(label).collect(), truncated: found.truncated }
    }
}
