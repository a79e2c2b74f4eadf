//! Question answering.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;
use std::ptr;

use mobilebert_bindings::answer::{
    Answer, AnswersWithin, Contexts, answers, answers_from, answers_within_from,
};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{AnswerOptions, QuestionAnswering, Result};

use super::cancel::MobilebertCancel;
use super::model::{MobilebertModel, MobilebertSwitch};
use super::text::{MobilebertPlace, MobilebertText};
use crate::call::{ErrorOut, quietly, run, watched};
use crate::given::{Changes, texts};
use crate::memory;
use crate::results::{Groups, Strings};

/// Options of question answering. `mobilebert_answer_options` makes the defaults; every field that is zero
/// means the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertAnswerOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// The largest number of answers to a question, or MOBILEBERT_ALL. Default: 1.
    top_k: usize,
    /// The longest sequence of question, window of the context and special tokens, in tokens. Default: 384 or
    /// the model's limit.
    max_seq_len: usize,
    /// The number of tokens that neighbouring windows of a long context share. Default: 128, or half of
    /// `max_seq_len` if that is less.
    doc_stride: usize,
    /// The longest question in tokens; a longer one is an error. Default: 64.
    max_question_len: usize,
    /// The longest answer in tokens. Default: 30.
    max_answer_len: usize,
    /// On if "the context does not say" may be an answer, which is an empty one at 0..0. It is meant for
    /// models trained on SQuAD 2.0. Default: off.
    handle_impossible_answer: MobilebertSwitch,
    /// On if places of the context with the same text are one answer with the sum of their scores. Default:
    /// on.
    merge_equal_texts: MobilebertSwitch,
    /// On if the score of "no answer" takes part in the sums that scores are shares of. Default: off, unless
    /// `handle_impossible_answer` is on.
    null_competes: MobilebertSwitch,
    /// The odds of "no answer" above which it comes first, with `handle_impossible_answer`, or NULL. Default:
    /// the model's, or 0.
    null_threshold: *const f32,
    /// The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
    /// Default: there is no limit.
    timeout_ms: u64,
    /// A flag that cancels the call, or NULL.
    cancel: *const MobilebertCancel,
    /// More options by name, as a JSON object in a string, or NULL. They win over the fields. The names are
    /// those of the fields above up to `null_threshold`, and of options that this struct does not have.
    json: *const c_char,
}

/// Another place of the context with the text of an answer. Its size is the same in all versions with one
/// MOBILEBERT_ABI_VERSION.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertAnswerPlace {
    /// The part of the answer's score.
    score: f32,
    /// The place in the context.
    place: MobilebertPlace,
}

/// An answer: a piece of its context. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertAnswer {
    /// The text of the answer; empty if the context does not say.
    text: MobilebertText,
    /// The score, from 0 to 1.
    score: f32,
    /// The place in the context.
    place: MobilebertPlace,
    /// The other places with the same text, best first.
    others: *const MobilebertAnswerPlace,
    /// The number of other places.
    other_count: usize,
}

/// The answers to one or several questions.
#[derive(Default)]
pub struct MobilebertAnswers {
    found: Groups<MobilebertAnswer>,
    /// What the answers point to.
    strings: Strings,
    others: Vec<Vec<MobilebertAnswerPlace>>,
    /// The windows of the context and those that were read, if the call counted them.
    windows: (usize, usize),
    unread: Vec<MobilebertPlace>,
}

impl MobilebertAnswers {
    fn of(found: Vec<Vec<Answer>>) -> Box<Self> {
        let mut all = Box::<Self>::default();
        for answers in found {
            let answers: Vec<MobilebertAnswer> =
                answers.into_iter().map(|answer| all.keep(&answer)).collect();
            all.found.push(answers);
        }
        all
    }

    fn of_part(found: AnswersWithin) -> Box<Self> {
        let mut all = Self::of(vec![found.answers]);
        all.windows = (found.windows, found.windows_read);
        all.unread = found.unread.into_iter().map(MobilebertPlace::from).collect();
        all
    }

    fn keep(&mut self, answer: &Answer) -> MobilebertAnswer {
        let place =
            |&(score, place): &(f32, _)| MobilebertAnswerPlace { score, place: MobilebertPlace::from(place) };
        let others: Vec<MobilebertAnswerPlace> = answer.others.iter().map(place).collect();
        let kept = MobilebertAnswer {
            text: self.strings.keep(&answer.answer),
            score: answer.score,
            place: answer.place.into(),
            others: if others.is_empty() { ptr::null() } else { others.as_ptr() },
            other_count: others.len(),
        };
        self.others.push(others);
        kept
    }
}

/// Makes the pipeline and the options of a call.
fn asked(
    model: Option<&MobilebertModel>,
    given: &MobilebertAnswerOptions,
) -> Result<(QuestionAnswering, AnswerOptions)> {
    let qa = QuestionAnswering::from_parts(memory::required(model, "model")?.loaded(), Default::default())?;
    let mut changes = Changes::new();
    changes.top_k(given.top_k);
    changes.count("max_seq_len", given.max_seq_len);
    changes.count("doc_stride", given.doc_stride);
    changes.count("max_question_len", given.max_question_len);
    changes.count("max_answer_len", given.max_answer_len);
    changes.switch("handle_impossible_answer", given.handle_impossible_answer)?;
    changes.switch("merge_equal_texts", given.merge_equal_texts)?;
    changes.switch("null_competes", given.null_competes)?;
    changes.number("null_threshold", given.null_threshold)?;
    let options = changed(qa.options(), &changes.with_json(given.json)?)?;
    Ok((qa, options))
}

/// Finds the answers with `contexts`, which is given the pipeline.
fn ask(
    model: Option<&MobilebertModel>,
    questions: &[&str],
    is_list: bool,
    options: *const MobilebertAnswerOptions,
    contexts: &Given<'_>,
) -> Result<Box<MobilebertAnswers>> {
    let given = memory::options(options)?;
    let (qa, options) = asked(model, &given)?;
    let questions = questions.to_vec();
    let found = watched(given.timeout_ms, given.cancel, |watch| match contexts {
        Given::One(text) => answers_from(&qa, &questions, text, is_list, &options, watch),
        Given::Each(texts) => answers(&qa, &questions, Contexts::Each(texts), is_list, &options, watch),
    })?;
    Ok(MobilebertAnswers::of(found))
}

/// The contexts of questions.
enum Given<'a> {
    One(&'a str),
    Each(Vec<&'a str>),
}

/// Answers a question from a context of any length.
///
/// `options` and `error` may be NULL. Errors: "empty_text", "too_long" for the question, "invalid_text",
/// "option", "unknown_option", "wrong_task" if the model is not for question answering, "cancelled",
/// "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the
/// result with `mobilebert_answers_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answer(
    model: Option<&MobilebertModel>,
    question: MobilebertText,
    context: MobilebertText,
    options: *const MobilebertAnswerOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertAnswers>> {
    run(error, || {
        let question = memory::text(question, "question")?;
        let context = memory::text(context, "context")?;
        ask(model, &[question], false, options, &Given::Each(vec![context]))
    })
}

/// Answers several questions from one context, which is tokenised once. The first question that fails ends
/// the call, and its index is that of the error. `questions` may be NULL if `count` is 0. `mobilebert_answer`
/// says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answer_questions(
    model: Option<&MobilebertModel>,
    questions: *const MobilebertText,
    count: usize,
    context: MobilebertText,
    options: *const MobilebertAnswerOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertAnswers>> {
    run(error, || {
        let questions = texts(questions, count, "question", "question")?;
        ask(model, &questions, true, options, &Given::One(memory::text(context, "context")?))
    })
}

/// Answers several questions, each from a context of its own. `context_count` has to equal `count`; another
/// number is the error "input". The first pair that fails ends the call, and its index is that of the error.
/// Arrays may be NULL if they are empty. `mobilebert_answer` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answer_pairs(
    model: Option<&MobilebertModel>,
    questions: *const MobilebertText,
    count: usize,
    contexts: *const MobilebertText,
    context_count: usize,
    options: *const MobilebertAnswerOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertAnswers>> {
    run(error, || {
        let questions = texts(questions, count, "question", "pair")?;
        let contexts = texts(contexts, context_count, "context", "pair")?;
        ask(model, &questions, true, options, &Given::Each(contexts))
    })
}

/// Answers a question without reading the whole context, and says what was left unread. The windows of the
/// context that have most words in common with the question are read first.
///
/// It reads `most_windows` windows, or all of them if that is 0. `timeout_ms` of the options ends the search
/// with what was found by then, and is an error only if it is over before the first pass. The first limit gives
/// the same result on every machine. Scores are shares among the windows that were read. If all were read, the
/// answers are those of `mobilebert_answer`, which says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_within(
    model: Option<&MobilebertModel>,
    question: MobilebertText,
    context: MobilebertText,
    most_windows: usize,
    options: *const MobilebertAnswerOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertAnswers>> {
    run(error, || {
        let (question, context) = (memory::text(question, "question")?, memory::text(context, "context")?);
        let given = memory::options(options)?;
        let (qa, options) = asked(model, &given)?;
        let most_windows = (most_windows > 0).then_some(most_windows);
        let found = watched(given.timeout_ms, given.cancel, |watch| {
            answers_within_from(&qa, question, context, most_windows, &options, watch)
        })?;
        Ok(MobilebertAnswers::of_part(found))
    })
}

/// Returns the number of questions, or 0 if `answers` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_inputs(answers: Option<&MobilebertAnswers>) -> usize {
    answers.map_or(0, |answers| answers.found.count())
}

/// Returns the number of answers to a question. It is 0 if there is no question of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_count(answers: Option<&MobilebertAnswers>, input: usize) -> usize {
    answers.map_or(0, |answers| answers.found.group(input).len())
}

/// Returns an answer to the question `input`, of which `rank` 0 is the best. It belongs to `answers`. It is
/// NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_at(
    answers: Option<&MobilebertAnswers>,
    input: usize,
    rank: usize,
) -> Option<&MobilebertAnswer> {
    answers?.found.group(input).get(rank)
}

/// Returns the number of windows of the context of `mobilebert_answers_within`. It is 0 for answers of another
/// function.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_windows(answers: Option<&MobilebertAnswers>) -> usize {
    answers.map_or(0, |answers| answers.windows.0)
}

/// Returns the number of windows that `mobilebert_answers_within` read. It is 0 for answers of another function.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_windows_read(answers: Option<&MobilebertAnswers>) -> usize {
    answers.map_or(0, |answers| answers.windows.1)
}

/// Returns the number of parts of the context that `mobilebert_answers_within` left unread.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_unread_count(answers: Option<&MobilebertAnswers>) -> usize {
    answers.map_or(0, |answers| answers.unread.len())
}

/// Returns a part of the context that was left unread, in their order. It belongs to `answers`. It is NULL if
/// there is none of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_unread_at(
    answers: Option<&MobilebertAnswers>,
    index: usize,
) -> Option<&MobilebertPlace> {
    answers?.unread.get(index)
}

/// Frees answers with their texts. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_answers_free(answers: Option<Box<MobilebertAnswers>>) {
    quietly(|| drop(answers));
}
