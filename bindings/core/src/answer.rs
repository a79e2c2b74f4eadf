//! Answers to questions.

use mobilebert::{AnswerOptions, PreparedContext, QuestionAnswering, Span};

use crate::failure::{Failure, Result};
use crate::list::{self, Inputs, Watch};
use crate::place::{Place, places};
use crate::texts::Texts;

/// An answer: a piece of its context.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text of the answer, empty if the context does not say.
    pub answer: String,
    /// The score; see [`mobilebert::Answer::score`].
    pub score: f32,
    /// The answer's place in the context.
    pub place: Place,
    /// The other places with the same text, best first, with their parts of the score.
    pub others: Vec<(f32, Place)>,
}

/// The contexts of a list of questions.
#[derive(Clone, Copy)]
pub enum Contexts<'a> {
    /// One context for all questions.
    One(&'a PreparedContext),
    /// A context for each question.
    Each(&'a dyn Texts),
}

/// Finds the best answers to each question. `is_list` is false for a call with a single question.
///
/// # Errors
/// The errors of [`QuestionAnswering::answers_with`], for the first question that fails; `input` if there are
/// not as many contexts as questions; `cancelled` and `deadline_exceeded` as `watch` says.
pub fn answers(
    qa: &QuestionAnswering,
    questions: &dyn Texts,
    contexts: Contexts<'_>,
    is_list: bool,
    options: &AnswerOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<Vec<Answer>>> {
    let count = questions.count();
    let unit = match contexts {
        Contexts::One(_) => "question",
        Contexts::Each(contexts) if contexts.count() != count => {
            let found = format!(
                "there are {count} questions and {} contexts; pass one for each, or one for all",
                contexts.count()
            );
            return Err(Failure::input("context", found));
        }
        Contexts::Each(_) => "pair",
    };
    let mut last: Option<PreparedContext> = None;
    let prepare = |index: usize| match contexts {
        Contexts::One(context) => qa.prepare_answer(questions.text(index), context, options),
        Contexts::Each(contexts) => {
            let text = contexts.text(index);
            // Lists of questions often repeat a context, and then it is tokenised once.
            let context = match last.take().filter(|last| last.text() == text) {
                Some(same) => same,
                None => qa.prepare(text)?,
            };
            let job = qa.prepare_answer(questions.text(index), &context, options);
            last = Some(context);
            job
        }
    };
    let mut results = Vec::new();
    list::run(qa.model(), Inputs::new(questions, is_list, unit), watch, prepare, |index, found| {
        let text = match contexts {
            Contexts::One(context) => context.text(),
            Contexts::Each(contexts) => contexts.text(index),
        };
        results.push(placed(text, found)?);
        Ok(())
    })?;
    Ok(results)
}

/// Finds the best answers to each question from one context, which is tokenised once and as a part of the
/// call: its time counts, and `watch` is asked behind it whether to go on.
///
/// # Errors
/// The errors of [`answers`].
pub fn answers_from(
    qa: &QuestionAnswering,
    questions: &dyn Texts,
    context: &str,
    is_list: bool,
    options: &AnswerOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<Vec<Answer>>> {
    let context = watch.step(questions.count(), || Ok(qa.prepare(context)?))?;
    answers(qa, questions, Contexts::One(&context), is_list, options, watch)
}

/// Counts the places of one context's answers in all units, reading the context once.
fn placed(context: &str, found: Vec<mobilebert::Answer>) -> Result<Vec<Answer>> {
    let pieces = |answer: &mobilebert::Answer| {
        let others: Vec<Span> = answer.others.iter().map(|other| Span::new(other.start, other.end)).collect();
        std::iter::once(Span::new(answer.start, answer.end)).chain(others)
    };
    let pieces: Vec<Span> = found.iter().flat_map(pieces).collect();
    let mut places = places(context, &pieces)?.into_iter();
    let mut next = || places.next().unwrap_or_default();
    let answer = |answer: mobilebert::Answer| {
        let mobilebert::Answer { score, answer, others, .. } = answer;
        let place = next();
        let others = others.iter().map(|other| (other.score, next())).collect();
        Answer { answer, score, place, others }
    };
    Ok(found.into_iter().map(answer).collect())
}
