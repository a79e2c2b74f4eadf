//! A model's prediction for one example.

use mobilebert::TagScheme;
use serde::{Deserialize, Serialize};

use super::Dataset;
use crate::metrics::squad::Version;

/// An answer and the logits behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// A piece of the context.
    pub text: String,
    /// First byte in the context.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Probability among all answers; see [`mobilebert::Answer::score`].
    pub score: f32,
    /// Logit of its first token as a start.
    pub start_logit: f32,
    /// Logit of its last token as an end.
    pub end_logit: f32,
}

/// A model's prediction for one example. In JSON it is an object; its fields tell which kind it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prediction {
    /// Answers to a question, best first.
    Answers {
        /// The best ones, at least one.
        answers: Vec<Candidate>,
        /// How sure the model is that the context has no answer; see [`mobilebert::Ranking::null_odds`]. It
        /// has no bounds.
        null_odds: f32,
    },
    /// The class of a text.
    Class {
        /// Index into [`crate::dataset::Labelled::classes`]. An index past its end is a class that the data
        /// does not have.
        class: usize,
        /// Probability of each class of the data; they sum to 1 if the model has no others.
        probabilities: Vec<f32>,
    },
    /// A number for a text.
    Value {
        /// The model's output.
        value: f32,
    },
    /// A tag for each word of a sentence.
    Tags {
        /// In the order of the words.
        tags: Vec<String>,
        /// The scheme of the model's labels.
        #[serde(default, skip_serializing_if = "is_bio")]
        scheme: TagScheme,
    },
}

impl Prediction {
    /// What is written for a class that the data does not have.
    pub const NO_CLASS: &str = "none of the classes";

    /// The answer in words: a piece of the context (empty if the null odds of v2.0 are above 0), the last
    /// name of a class (which is a word if the class has several names), a number with two decimals, or the
    /// tags.
    pub fn text(&self, data: &Dataset) -> String {
        let classes = match data {
            Dataset::Labelled(data) => data.classes.as_slice(),
            _ => &[],
        };
        let null = matches!(data, Dataset::Squad(squad) if squad.version == Version::V2).then_some(0.0);
        match self {
            Prediction::Answers { .. } => self.answer(null).unwrap_or_default().to_owned(),
            Prediction::Class { class, .. } => match classes.get(*class).and_then(|names| names.last()) {
                Some(name) => name.clone(),
                None => Self::NO_CLASS.to_owned(),
            },
            Prediction::Value { value } => format!("{value:.2}"),
            Prediction::Tags { tags, .. } => tags.join(" "),
        }
    }

    /// The answer to a question, or the empty answer if `null_odds` are above `null_threshold`. Pass `None`
    /// for v1.1, where every question has an answer. Returns `None` for predictions of other kinds.
    pub fn answer(&self, null_threshold: Option<f32>) -> Option<&str> {
        match self {
            Prediction::Answers { null_odds, .. } if null_threshold.is_some_and(|most| *null_odds > most) => {
                Some("")
            }
            Prediction::Answers { answers, .. } => Some(answers.first().map_or("", |best| &best.text)),
            _ => None,
        }
    }
}

fn is_bio(scheme: &TagScheme) -> bool {
    *scheme == TagScheme::Bio
}
