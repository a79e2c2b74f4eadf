//! `/api/v1/{model}/answer`

use std::sync::Arc;

use mobilebert::{Answer, AnswerOptions, OffsetUnit};
use serde::{Deserialize, Serialize};

use super::step;
use crate::call::{Call, Reply, Step, at, check_answers, too_many_sequences};
use crate::dialect::shape::{self, Texts, Unit};
use crate::error::{Refusal, Result};
use crate::work::{Found, work};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerRequest {
    question: Texts,
    context: Texts,
    #[serde(default)]
    offsets: Unit,
    top_k: Option<usize>,
    doc_stride: Option<usize>,
    max_seq_len: Option<usize>,
    max_question_len: Option<usize>,
    max_answer_len: Option<usize>,
    max_windows: Option<usize>,
    handle_impossible_answer: Option<bool>,
    null_threshold: Option<f32>,
    merge_equal_texts: Option<bool>,
    null_competes: Option<bool>,
}

/// With `max_windows` a request may have so many times as many windows as it may run: to count the words of one
/// takes a small part of the time of its pass.
const LOOKED_AT: usize = 16;

/// What was read of a context for one question.
#[derive(Serialize)]
struct Part {
    windows: usize,
    windows_read: usize,
    unread: Vec<[usize; 2]>,
}

/// `POST /api/v1/{model}/answer`
pub(crate) fn answer(call: &Call) -> Result<Step> {
    let request: AnswerRequest = call.json()?;
    let model = call.model()?;
    let pipeline = model.answerer()?;
    let AnswerRequest { question: questions, context: contexts, offsets: Unit(unit), .. } = request;
    call.check_texts("question", questions.iter())?;
    call.check_texts("context", contexts.iter())?;
    let shared = contexts.all.len() == 1;
    if !shared && contexts.all.len() != questions.all.len() {
        let (found, expected) = (contexts.all.len(), questions.all.len());
        let message =
            format!("there are {found} contexts for {expected} questions; pass one for each, or one for all");
        return Err(Refusal::invalid("context", message));
    }
    let options = AnswerOptions::with(|o| {
        o.top_k = request.top_k.unwrap_or(o.top_k);
        (o.doc_stride, o.max_seq_len) = (request.doc_stride, request.max_seq_len);
        o.max_question_len = request.max_question_len.unwrap_or(o.max_question_len);
        o.max_answer_len = request.max_answer_len.unwrap_or(o.max_answer_len);
        o.handle_impossible_answer = request.handle_impossible_answer.unwrap_or(o.handle_impossible_answer);
        o.null_threshold = request.null_threshold;
        o.merge_equal_texts = request.merge_equal_texts.unwrap_or(o.merge_equal_texts);
        o.null_competes = request.null_competes.unwrap_or(o.null_competes);
    });
    if request.max_windows == Some(0) {
        return Err(Refusal::invalid("max_windows", "`max_windows` is 0; expected at least 1"));
    }
    let questions_of_each = if shared { questions.all.len() } else { 1 };
    check_answers(model, &options, contexts.iter().map(|context| (context, questions_of_each)))?;
    let is_list = questions.is_list;
    // A context is tokenised once, however many questions it has.
    let prepared = contexts.iter().enumerate();
    let prepared =
        prepared.map(|(i, text)| pipeline.prepare(text).map_err(at("context", contexts.is_list, i)));
    let prepared = prepared.collect::<Result<Vec<_>>>()?;
    let (mut windows, mut looked_at, mut kept, mut jobs) = (0, 0, 0, Vec::new());
    for (i, question) in questions.iter().enumerate() {
        let context = &prepared[if shared { 0 } else { i }];
        let at = at("question", is_list, i);
        jobs.push(match request.max_windows {
            None => {
                let job = pipeline.prepare_answer(question, context, &options).map_err(at)?;
                windows += mobilebert::Job::count(&job);
                work(job, Found::Answers)
            }
            Some(most) => {
                // All windows are looked at before some are chosen, and those that are chosen are kept.
                let all = pipeline.prepare_answer(question, context, &options).map_err(at)?;
                looked_at += mobilebert::Job::count(&all);
                check_looked_at(looked_at, call.config.max_windows)?;
                let left = call.config.max_windows.saturating_sub(kept);
                let most = Some(most.min(left.saturating_add(1)));
                let job = pipeline.prepare_answers_within(question, context, &options, most)?;
                kept += mobilebert::Job::count(&job);
                if kept > call.config.max_windows {
                    return Err(too_many_sequences(call.config.max_windows));
                }
                work(job, Found::AnswersWithin)
            }
        });
    }
    let render = {
        let model = Arc::clone(model);
        move |found: Vec<Found>| {
            #[derive(Serialize)]
            struct Body<'a> {
                answers: Vec<Vec<Answer>>,
                windows: usize,
                #[serde(skip_serializing_if = "Vec::is_empty")]
                parts: Vec<Part>,
                model_sha: &'a str,
            }
            let mut body = Body { answers: Vec::new(), windows, parts: Vec::new(), model_sha: &model.sha };
            for (i, found) in found.into_iter().enumerate() {
                let context = &contexts.all[if shared { 0 } else { i }];
                let mut answers = match found {
                    Found::Answers(answers) => answers,
                    Found::AnswersWithin(found) => {
                        body.windows += found.windows;
                        let mut unread: Vec<[usize; 2]> =
                            found.unread.iter().map(|part| [part.start, part.end]).collect();
                        unit.convert(context, unread.as_flattened_mut())?;
                        body.parts.push(Part {
                            windows: found.windows,
                            windows_read: found.windows_read,
                            unread,
                        });
                        found.answers
                    }
                    _ => return Err(shape::mixed_up()),
                };
                place(unit, context, &mut answers)?;
                body.answers.push(answers);
            }
            Reply::json(&body)
        }
    };
    Ok(step(model, jobs, render))
}

/// Checks how many windows a request with `max_windows` chooses from.
///
/// # Errors
/// [`Kind::TooLarge`](crate::error::Kind::TooLarge).
fn check_looked_at(windows: usize, most_sequences: usize) -> Result<()> {
    let most = most_sequences.saturating_mul(LOOKED_AT);
    if windows <= most {
        return Ok(());
    }
    let message = format!(
        "the contexts have more than {most} windows to choose from ({LOOKED_AT} times --max-windows); send less text"
    );
    Err(Refusal::too_large(message).of("context"))
}

/// Counts the places of answers in another unit.
pub(crate) fn place(unit: OffsetUnit, context: &str, answers: &mut [Answer]) -> Result<()> {
    let offsets = answers.iter_mut().flat_map(|answer| {
        let others = answer.others.iter_mut().flat_map(|other| [&mut other.start, &mut other.end]);
        [&mut answer.start, &mut answer.end].into_iter().chain(others)
    });
    Ok(unit.convert(context, offsets)?)
}
