//! Question answering.

use std::sync::Arc;

use mobilebert_bindings::answer::{Contexts, answers};
use mobilebert_bindings::options::changed;

use crate::call::{Cancellation, watched_after};
use crate::failure::Result;
use crate::options::{self, NamedOption};
use crate::task::{Piece, opening};

/// A pipeline that finds answers in contexts.
#[derive(Debug, uniffi::Object)]
pub(crate) struct QuestionAnswering {
    pipeline: mobilebert_bindings::QuestionAnswering,
}

/// An answer.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Answer {
    /// The text of the answer.
    pub answer: String,
    /// The score.
    pub score: f32,
    /// Its place in the context.
    pub place: Piece,
    /// The other places with the same text, best first.
    pub others: Vec<OtherPlace>,
}

/// Another place of an answer's text.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct OtherPlace {
    /// Its part of the score.
    pub score: f32,
    /// The place.
    pub place: Piece,
}

opening!(QuestionAnswering, mobilebert_bindings::AnswerOptions, answers);

#[uniffi::export]
impl QuestionAnswering {
    /// Answers questions. With `one_context`, the only context is that of all questions. `is_list` is false
    /// for a call with a single question.
    #[expect(clippy::too_many_arguments, reason = "the functions of Kotlin above it have fewer")]
    fn answers(
        &self,
        questions: Vec<String>,
        contexts: Vec<String>,
        one_context: bool,
        is_list: bool,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<Vec<Vec<Answer>>> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        // A long context takes longer to tokenise than a pass takes.
        let prepare = || match contexts.first() {
            Some(context) if one_context => Ok(Some(self.pipeline.prepare(context.as_str())?)),
            _ => Ok(None),
        };
        let found = watched_after(timeout_millis, &cancellations, prepare, |one, watch| {
            let contexts = one.as_ref().map_or(Contexts::Each(&contexts), Contexts::One);
            answers(&self.pipeline, &questions, contexts, is_list, &options, watch)
        })?;
        Ok(found.into_iter().map(|answers| answers.into_iter().map(Answer::from).collect()).collect())
    }
}

impl From<mobilebert_bindings::answer::Answer> for Answer {
    fn from(found: mobilebert_bindings::answer::Answer) -> Self {
        let other =
            |(score, place): (f32, mobilebert_bindings::Place)| OtherPlace { score, place: place.into() };
        Self {
            answer: found.answer,
            score: found.score,
            place: found.place.into(),
            others: found.others.into_iter().map(other).collect(),
        }
    }
}
