//! Answers to questions.

use std::ops::ControlFlow;

use mobilebert::{AnswerOptions, PassProgress, PreparedContext, QuestionAnswering, RunControl, Span};

use crate::failure::{Failure, Result};
use crate::list::{self, Inputs, Progress, Watch};
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
    if questions.count() == 0 {
        // No question reads the context that it shares with none.
        let none: Vec<String> = Vec::new();
        return answers(qa, questions, Contexts::Each(&none), is_list, options, watch);
    }
    let context = watch.step(questions.count(), || Ok(qa.prepare(context)?))?;
    answers(qa, questions, Contexts::One(&context), is_list, options, watch)
}

/// The answers in the part of a context that was read; see [`answers_within`].
#[derive(Debug, Clone, PartialEq)]
pub struct AnswersWithin {
    /// The best answers in the windows that were read, best first.
    pub answers: Vec<Answer>,
    /// The number of windows of the context.
    pub windows: usize,
    /// The number of windows that were read.
    pub windows_read: usize,
    /// The parts of the context that no window that was read holds, in their order.
    pub unread: Vec<Place>,
}

/// Finds the best answers to a question without reading the whole context, and says what was left unread. It
/// reads those windows first that have most words in common with the question, and not more than
/// `most_windows` of them. The watch's time ends the search with what was found by then.
///
/// # Errors
/// The errors of [`QuestionAnswering::answers_within`]: `option` if `most_windows` is 0, and
/// `deadline_exceeded` if the time is over before the first pass begins.
pub fn answers_within(
    qa: &QuestionAnswering,
    question: &str,
    context: &PreparedContext,
    most_windows: Option<usize>,
    options: &AnswerOptions,
    watch: &mut Watch<'_>,
) -> Result<AnswersWithin> {
    let (deadline, is_late) = (watch.deadline()?, watch.is_late);
    let on_pass = &mut watch.on_pass;
    let mut after_pass = |pass: PassProgress| {
        let progress = Progress { done: pass.sequences, total: pass.known_sequences };
        on_pass.as_mut().map_or(ControlFlow::Continue(()), |tell| tell(progress))
    };
    let mut control = RunControl::default();
    control.on_pass = Some(&mut after_pass);
    (control.deadline, control.is_late) = (deadline, is_late);
    let found = qa.answers_within(question, context, options, most_windows, &mut control)?;
    let unread: Vec<Span> = found.unread.iter().map(|part| Span::new(part.start, part.end)).collect();
    Ok(AnswersWithin {
        answers: placed(context.text(), found.answers)?,
        windows: found.windows,
        windows_read: found.windows_read,
        unread: places(context.text(), &unread)?,
    })
}

/// Searches a context as [`answers_within`] does, and tokenises it as a part of the call: its time counts, and
/// `watch` is asked behind it whether to go on.
///
/// # Errors
/// The errors of [`answers_within`].
pub fn answers_within_from(
    qa: &QuestionAnswering,
    question: &str,
    context: &str,
    most_windows: Option<usize>,
    options: &AnswerOptions,
    watch: &mut Watch<'_>,
) -> Result<AnswersWithin> {
    let context = watch.step(1, || Ok(qa.prepare(context)?))?;
    answers_within(qa, question, &context, most_windows, options, watch)
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
