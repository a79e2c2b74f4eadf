//! Question answering.

use std::sync::Arc;

use mobilebert_bindings::Failure;
use mobilebert_bindings::answer::{Contexts, answers, answers_from, answers_within_from};
use mobilebert_bindings::options::changed;

use crate::call::{Cancellation, watched};
use crate::failure::{Result, count};
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

/// The answers in the part of a context that was read.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct PartOfAnswers {
    /// The best answers in the windows that were read, best first.
    pub answers: Vec<Answer>,
    /// The number of windows of the context.
    pub windows: i32,
    /// The number of windows that were read.
    pub windows_read: i32,
    /// The parts of the context that were left unread.
    pub unread: Vec<Piece>,
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
        let found = watched(timeout_millis, &cancellations, |watch| match contexts.first() {
            Some(context) if one_context => {
                answers_from(&self.pipeline, &questions, context, is_list, &options, watch)
            }
            _ => answers(&self.pipeline, &questions, Contexts::Each(&contexts), is_list, &options, watch),
        })?;
        Ok(found.into_iter().map(written).collect())
    }

    /// Answers a question without reading the whole context.
    fn answers_within(
        &self,
        question: String,
        context: String,
        most_windows: Option<i32>,
        options: Vec<NamedOption>,
        timeout_millis: Option<i64>,
        cancellations: Vec<Arc<Cancellation>>,
    ) -> Result<PartOfAnswers> {
        let options = changed(self.pipeline.options(), &options::map(options)?)?;
        let most_windows = most_windows.map(|most| {
            usize::try_from(most).map_err(|_| Failure::option("most_windows", "at least 1", most))
        });
        let most_windows = most_windows.transpose()?;
        let found = watched(timeout_millis, &cancellations, |watch| {
            answers_within_from(&self.pipeline, &question, &context, most_windows, &options, watch)
        })?;
        Ok(PartOfAnswers {
            answers: written(found.answers),
            windows: count(found.windows),
            windows_read: count(found.windows_read),
            unread: found.unread.into_iter().map(Piece::from).collect(),
        })
    }
}

fn written(found: Vec<mobilebert_bindings::answer::Answer>) -> Vec<Answer> {
    found.into_iter().map(Answer::from).collect()
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
