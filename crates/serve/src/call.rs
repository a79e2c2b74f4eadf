//! A request as dialects see it, and what they make of it: a reply, or jobs whose results become one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use mobilebert::{AnswerOptions, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::error::{Kind, Refusal, Result, short};
use crate::models::{Models, Served, Task};
use crate::schedule::Lane;
use crate::work::{AnyJob, Found};

/// The media type of JSON.
pub(crate) const JSON: &str = "application/json";

/// The most results of one question or mask. The command has the same limit.
const MOST_RESULTS: usize = 1000;

/// The longest answer, in tokens: as many as the longest sequence that answers are usually sought in.
const MOST_ANSWER_TOKENS: usize = 384;

/// The most that the number of answers and their tokens may be together. The search keeps hundreds of places for each
/// of so many texts, and reads the text of each place: beyond this it takes longer than the passes, which are all that
/// the queue knows of.
const MOST_ANSWERS: usize = 50_000;

/// The most bytes that the texts of all results of a request may have.
const MOST_RESULT_BYTES: usize = 16 << 20;

/// The most numbers of an answer: 64 MiB of them.
const MOST_NUMBERS: usize = 16 << 20;

/// A request whose body has been read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The parts of the path that the route's pattern leaves open, by their names.
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) models: Arc<Models>,
    pub(crate) config: Arc<Config>,
}

impl Call {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`Kind::Malformed`], with the place in the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        json(&self.body)
    }

    /// Returns a part of the path.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Finds the model that the path names.
    ///
    /// # Errors
    /// [`Kind::NoModel`] with the names of those that are served.
    pub(crate) fn model(&self) -> Result<&Arc<Served>> {
        self.model_of(self.param("model").unwrap_or_default())
    }

    /// Finds a model by its name.
    ///
    /// # Errors
    /// [`Kind::NoModel`] with the names of those that are served.
    pub(crate) fn model_of(&self, name: &str) -> Result<&Arc<Served>> {
        self.models.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.models.all().iter().map(|model| model.name.as_str()).collect();
            let name = short(name);
            let message = format!("there is no model {name:?}; expected one of {}", known.join(", "));
            Refusal::new(Kind::NoModel, "unknown_model", message).of("model")
        })
    }

    /// Finds the model that the path names, or the default one of a task.
    ///
    /// # Errors
    /// [`Kind::NoModel`].
    pub(crate) fn model_for(&self, task: Task) -> Result<&Arc<Served>> {
        if self.param("model").is_some() {
            return self.model();
        }
        self.models.default_for(task).ok_or_else(|| {
            let message =
                format!("no model for {} is served; start the server with --model NAME=SOURCE", task.name());
            Refusal::new(Kind::NoModel, "unknown_model", message)
        })
    }

    /// Checks the number of texts of a request, and the length of each.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for none, [`Kind::TooLarge`] with the flag for too many or too long ones.
    pub(crate) fn check_texts<'t>(
        &self,
        param: &'static str,
        texts: impl ExactSizeIterator<Item = &'t str>,
    ) -> Result<()> {
        if texts.len() == 0 {
            return Err(Refusal::invalid(
                param,
                format!("`{param}` is an empty list; expected at least one text"),
            ));
        }
        if texts.len() > self.config.max_inputs {
            let (found, most) = (texts.len(), self.config.max_inputs);
            let message = format!("`{param}` has {found} texts; expected at most {most} (--max-inputs)");
            return Err(Refusal::too_large(message).of(param));
        }
        for (i, text) in texts.enumerate() {
            if text.len() > self.config.max_input_bytes {
                let (found, most) = (text.len(), self.config.max_input_bytes);
                let message = format!(
                    "text {} of `{param}` has {found} bytes; expected at most {most} (--max-input-bytes)",
                    i + 1
                );
                return Err(Refusal::too_large(message).of(param));
            }
        }
        Ok(())
    }
}

/// Checks the number of results that a request asks for.
///
/// # Errors
/// [`Kind::Invalid`] with the limit.
pub(crate) fn check_top_k(top_k: usize) -> Result<()> {
    at_most("top_k", top_k, MOST_RESULTS)
}

fn at_most(param: &'static str, found: usize, most: usize) -> Result<()> {
    match found <= most {
        true => Ok(()),
        false => Err(Refusal::invalid(param, format!("`{param}` is {found}; expected at most {most}"))),
    }
}

/// The refusal of a request that becomes more sequences than one may have.
pub(crate) fn too_many_sequences(most: usize) -> Refusal {
    Refusal::too_large(format!("the texts become more than {most} sequences (--max-windows); send less text"))
}

/// Checks the size of an answer that consists of rows of numbers, before any of them is computed.
///
/// # Errors
/// [`Kind::TooLarge`].
pub(crate) fn check_numbers(what: &str, rows: usize, width: usize) -> Result<()> {
    match rows.checked_mul(width).filter(|&all| all <= MOST_NUMBERS) {
        Some(_) => Ok(()),
        None => {
            let message = format!(
                "{what} would be {rows} rows of {width} numbers; expected at most {MOST_NUMBERS} numbers, so send \
                 less in one request"
            );
            Err(Refusal::too_large(message))
        }
    }
}

/// Checks what the answers to questions may take. Each context comes with the number of its questions.
///
/// # Errors
/// [`Kind::Invalid`] for an option beyond its limit, [`Kind::TooLarge`] if the texts of all answers might be
/// too large together.
pub(crate) fn check_answers<'t>(
    model: &Served,
    options: &AnswerOptions,
    contexts: impl Iterator<Item = (&'t str, usize)>,
) -> Result<()> {
    check_top_k(options.top_k)?;
    at_most("max_answer_len", options.max_answer_len, MOST_ANSWER_TOKENS)?;
    at_most("top_k", options.top_k, MOST_ANSWERS / options.max_answer_len.max(1)).map_err(|refusal| {
        let message = format!("{} where `max_answer_len` is {}", refusal.message, options.max_answer_len);
        Refusal { message: message.into(), ..refusal }
    })?;
    let mut total = ResultBytes::default();
    for (context, questions) in contexts {
        let answers = questions.saturating_mul(options.top_k);
        // A small part of all bytes needs no measuring: no answer is longer than its context.
        let longest = match answers.saturating_mul(context.len()) > MOST_RESULT_BYTES / 1024 {
            true => longest_span(model, context, options.max_answer_len)?,
            false => context.len(),
        };
        total.add(answers, longest)?;
    }
    Ok(())
}

/// Returns the bytes of the longest place of so many tokens.
fn longest_span(model: &Served, text: &str, tokens: usize) -> Result<usize> {
    let found = model.tokenizer().tokenize(text)?;
    let spans = found.spans();
    let length = |(first, span): (usize, &mobilebert::Span)| {
        let last = first.saturating_add(tokens.saturating_sub(1)).min(spans.len() - 1);
        spans[last].end.saturating_sub(span.start)
    };
    Ok(spans.iter().enumerate().map(length).max().unwrap_or(0))
}

/// The bytes that the texts of results may have, added up before any of them is made.
#[derive(Debug, Default)]
pub(crate) struct ResultBytes(usize);

impl ResultBytes {
    /// Counts `results` texts of at most `bytes` bytes.
    ///
    /// # Errors
    /// [`Kind::TooLarge`] once there are too many bytes.
    pub(crate) fn add(&mut self, results: usize, bytes: usize) -> Result<()> {
        let sum = results.checked_mul(bytes).and_then(|more| self.0.checked_add(more));
        match sum.filter(|&sum| sum <= MOST_RESULT_BYTES) {
            Some(sum) => {
                self.0 = sum;
                Ok(())
            }
            None => {
                let message = format!(
                    "the texts of all results could have more than {MOST_RESULT_BYTES} bytes; ask for fewer \
                     results (`top_k`), or send fewer or shorter texts"
                );
                Err(Refusal::too_large(message).of("top_k"))
            }
        }
    }
}

/// Reads the fields of a JSON object. Bytes that are not UTF-8 are named by their place. A list is refused,
/// because its elements would be taken for the fields in the order in which they happen to be declared.
///
/// # Errors
/// [`Kind::Malformed`].
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let message =
            format!("the body is not UTF-8: byte {} does not belong to a character", error.valid_up_to());
        Refusal::malformed(message)
    })?;
    if text.trim().is_empty() {
        return Err(Refusal::malformed("the body is empty; expected JSON"));
    }
    if !text.trim_start().starts_with('{') {
        let begin: String = text.trim_start().chars().take(20).collect();
        return Err(Refusal::malformed(format!("the body begins with {begin:?}; expected a JSON object")));
    }
    serde_json::from_str(text)
        .map_err(|error| Refusal::malformed(format!("the body cannot be read: {error}")))
}

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The number of texts whose end was not read.
    pub(crate) truncated: usize,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, body: body.into(), headers: Vec::new(), truncated: 0 }
    }

    /// Makes a reply of status 200.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the value has no form in JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Self::json_of(200, value)
    }

    /// Makes a reply of any status.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the value has no form in JSON.
    pub(crate) fn json_of<T: Serialize + ?Sized>(status: u16, value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|error| Refusal::internal(error.to_string()))?;
        Ok(Self::new(status, JSON, body))
    }

    /// Makes the reply of a refusal, for which there is a value that has a form in JSON.
    pub(crate) fn error<T: Serialize + ?Sized>(status: u16, value: &T) -> Self {
        Self::json_of(status, value).unwrap_or_else(|_| Self::new(500, JSON, "{}"))
    }

    pub(crate) fn truncated(mut self, texts: usize) -> Self {
        self.truncated = texts;
        self
    }
}

/// Makes the reply from the results of all jobs.
pub(crate) type Render<R = Reply> = Box<dyn FnOnce(Vec<Found>) -> Result<R> + Send>;

/// What a dialect makes of a request.
pub(crate) enum Step<R = Reply> {
    /// Nothing has to be computed.
    Reply(R),
    Run(Run<R>),
}

/// Jobs to run, and what becomes of their results.
pub(crate) struct Run<R = Reply> {
    pub(crate) model: Arc<Served>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) jobs: Vec<AnyJob>,
    /// The number of texts or pairs of the request.
    pub(crate) inputs: usize,
    /// The deadline that the body asks for.
    pub(crate) deadline: Option<Duration>,
    pub(crate) render: Render<R>,
}

impl<R: 'static> Run<R> {
    /// Lets something else become of the results.
    pub(crate) fn map<S>(self, then: impl FnOnce(R) -> Result<S> + Send + 'static) -> Run<S> {
        let Self { model, lane, jobs, inputs, deadline, render } = self;
        let render = Box::new(move |found| render(found).and_then(then));
        Run { model, lane, jobs, inputs, deadline, render }
    }
}

/// Names the text of a list that an error is about.
pub(crate) fn at(unit: &'static str, is_list: bool, index: usize) -> impl FnOnce(Error) -> Refusal {
    move |error| {
        let mut refusal = Refusal::from(error);
        if is_list {
            refusal.message = format!("{unit} {}: {}", index + 1, refusal.message).into();
        }
        refusal
    }
}

/// Checks the media type of a body. Nothing at all is taken for JSON.
///
/// # Errors
/// [`Kind::WrongType`].
pub(crate) fn check_type(headers: &HeaderMap, binary: bool) -> Result<()> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let media = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_json = media.eq_ignore_ascii_case(JSON);
    if is_json || binary && media.eq_ignore_ascii_case("application/octet-stream") {
        return Ok(());
    }
    let expected = if binary { "application/json or application/octet-stream" } else { JSON };
    let message = format!("content-type is {media:?}; expected {expected}");
    Err(Refusal::new(Kind::WrongType, "unsupported_media_type", message))
}
