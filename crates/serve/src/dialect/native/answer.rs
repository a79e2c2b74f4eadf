//! `/api/v1/{model}/answer`

use std::sync::Arc;

use mobilebert::{Answer, AnswerOptions, OffsetUnit};
use serde::{Deserialize, Serialize};

use super::step;
use crate::call::{Call, Reply, Step, at, check_answers};
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
    handle_impossible_answer: Option<bool>,
    null_threshold: Option<f32>,
    merge_equal_texts: Option<bool>,
    null_competes: Option<bool>,
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
    let questions_of_each = if shared { questions.all.len() } else { 1 };
    check_answers(model, &options, contexts.iter().map(|context| (context, questions_of_each)))?;
    let is_list = questions.is_list;
    // A context is tokenised once, however many questions it has.
    let prepared = contexts.iter().enumerate();
    let prepared =
        prepared.map(|(i, text)| pipeline.prepare(text).map_err(at("context", contexts.is_list, i)));
    let prepared = prepared.collect::<Result<Vec<_>>>()?;
    let mut windows = 0;
    let mut jobs = Vec::new();
    for (i, question) in questions.iter().enumerate() {
        let context = &prepared[if shared { 0 } else { i }];
        let job = pipeline.prepare_answer(question, context, &options).map_err(at("question", is_list, i))?;
        windows += mobilebert::Job::count(&job);
        jobs.push(work(job, Found::Answers));
    }
    let render = {
        let model = Arc::clone(model);
        move |found: Vec<Found>| {
            #[derive(Serialize)]
            struct Body<'a> {
                answers: Vec<Vec<Answer>>,
                windows: usize,
                model_sha: &'a str,
            }
            let mut answers = Vec::new();
            for (i, found) in found.into_iter().enumerate() {
                let Found::Answers(mut found) = found else { return Err(shape::mixed_up()) };
                place(unit, &contexts.all[if shared { 0 } else { i }], &mut found)?;
                answers.push(found);
            }
            Reply::json(&Body { answers, windows, model_sha: &model.sha })
        }
    };
    Ok(step(model, jobs, render))
}

/// Counts the places of answers in another unit.
pub(crate) fn place(unit: OffsetUnit, context: &str, answers: &mut [Answer]) -> Result<()> {
    let offsets = answers.iter_mut().flat_map(|answer| {
        let others = answer.others.iter_mut().flat_map(|other| [&mut other.start, &mut other.end]);
        [&mut answer.start, &mut answer.end].into_iter().chain(others)
    });
    Ok(unit.convert(context, offsets)?)
}
