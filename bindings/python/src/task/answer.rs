//! Question answering.

use mobilebert_bindings::answer::{Contexts, answers, answers_from, answers_within, answers_within_from};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{Failure, PreparedContext, Texts};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::argument;
use crate::call::{detached, watched, watched_search};
use crate::doc::{calling, opening, opening_errors};
use crate::errors::exception;
use crate::input::{Given, Held, OnNull, options, pair, string, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// A context that was tokenised once, for any number of questions. `QuestionAnswering.prepare` makes it.
///
/// >>> from mobilebert import QuestionAnswering
/// >>> qa = QuestionAnswering("qa")
/// >>> context = qa.prepare("It was built by Ada in 1911.")
/// >>> [qa.answer(question, context).answer for question in ("Who built it?", "When was it built?")]
/// ['Ada', '1911']
#[pyclass(frozen, module = "mobilebert")]
pub(crate) struct Context {
    prepared: PreparedContext,
}

#[pymethods]
impl Context {
    /// The text of the context.
    #[getter]
    fn text(&self) -> &str {
        self.prepared.text()
    }
}

/// Finds answers to questions in texts of any length.
///
/// >>> from mobilebert import QuestionAnswering
/// >>> qa = QuestionAnswering("qa")
/// >>> answer = qa.answer("Who built it?", "It was built by Ada.")
/// >>> answer.answer, answer.start, answer.end
/// ('Ada', 16, 19)
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
///         dictionary of file names and bytes, or a `Model`. ``"qa"`` by default.
#[doc = opening!()]
///     options: options of all calls that bring none: ``top_k`` (how many answers), ``max_answer_len`` (in
///         tokens, 30), ``max_question_len`` (64), ``max_seq_len`` and ``doc_stride`` (of the windows that a
///         long context is cut into), ``handle_impossible_answer`` (whether "no answer" may be one),
///         ``null_threshold``, ``merge_equal_texts`` and ``null_competes``.
#[doc = opening_errors!()]
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct QuestionAnswering {
    pipeline: mobilebert_bindings::QuestionAnswering,
    origin: Origin,
}

#[pymethods]
impl QuestionAnswering {
    #[new]
    #[pyo3(signature = (model=None, *, threads=None, precision=None, special_tokens_in_text=None, **options))]
    fn new(
        py: Python<'_>,
        model: Option<Bound<'_, PyAny>>,
        #[pyo3(from_py_with = argument::threads)] threads: Option<usize>,
        #[pyo3(from_py_with = argument::precision)] precision: Option<String>,
        #[pyo3(from_py_with = argument::special_tokens_in_text)] special_tokens_in_text: Option<bool>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let model = model.unwrap_or_else(|| PyString::new(py, "qa").into_any());
        let origin = Origin::new(&model, threads, precision, special_tokens_in_text, options)?;
        let Origin { opening, options, .. } = &origin;
        let pipeline = model::open(
            &model,
            opening,
            |source| opening.answers(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::QuestionAnswering::from_parts(model, options)?)
            },
        )?;
        Ok(Self { pipeline, origin })
    }

    /// The loaded model, which other classes can share.
    #[getter]
    fn model(&self) -> Model {
        Model::of(self.pipeline.model(), &self.origin.name)
    }

    /// Returns the arguments that open it again, for ``pickle``: the model's name or path and the options.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.origin.arguments(py)
    }

    /// The options of calls that bring none, as a new dictionary.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options_dict(py, self.pipeline.options())
    }

    /// Tokenises a context once, for many questions.
    ///
    /// Args:
    ///     context: the text.
    ///
    /// Returns:
    ///     A `Context`, which the other methods take in place of the text.
    ///
    /// Raises:
    ///     InvalidText: the text holds half of a surrogate pair.
    fn prepare(&self, context: &Bound<'_, PyAny>) -> PyResult<Context> {
        let text = text("context", context)?;
        let prepared = detached(context.py(), || Ok(self.pipeline.prepare(&*text)?))?;
        Ok(Context { prepared })
    }

    /// Returns the best answer to a question, or a list of the best answers to many.
    ///
    /// >>> from mobilebert import QuestionAnswering
    /// >>> QuestionAnswering("qa").answer("Who built it?", "It was built by Ada.").answer
    /// 'Ada'
    ///
    /// Args:
    ///     question: a text; or a list of texts, a column of a table, or anything that gives texts.
    ///     context: the text that holds the answer, or a `Context`. With many questions, one for all of them
    ///         or one for each; with one question, many contexts are searched one by one.
    #[doc = calling!()]
    ///     EmptyText: a question or a context has no words.
    ///     TooLong: a question has more tokens than ``max_question_len``.
    ///
    /// Returns:
    ///     An `Answer`, or a list of them if there are many questions or contexts.
    #[pyo3(
        signature = (question, context, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, question, context, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        question: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = argument::timeout)] timeout: Option<f64>,
        #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
        #[pyo3(from_py_with = argument::on_null)] on_null: OnNull,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut changes = self::options(options)?;
        if changes.insert("top_k".to_owned(), 1.into()).is_some() {
            let failure = Failure::option("top_k", "nothing, because `answers` returns several", "a number");
            return Err(exception(py, &failure));
        }
        let (found, is_list) = self.find(py, question, context, (timeout, progress, on_null), &changes)?;
        let best = found.into_iter().filter_map(|answers| answers.into_iter().next()).collect();
        results::list_or_one(py, is_list, best, results::answer)
    }

    /// Returns the best answers to a question, best first, or such a list for each of many questions.
    ///
    /// >>> from mobilebert import QuestionAnswering
    /// >>> qa = QuestionAnswering("qa")
    /// >>> [found.answer for found in qa.answers("Who built it?", "Ada or Eve built it.", top_k=2)]
    /// ['Ada or Eve', 'Ada']
    ///
    /// Args:
    ///     question: as in `answer`.
    ///     context: as in `answer`.
    #[doc = calling!()]
    ///     EmptyText: a question or a context has no words.
    ///     TooLong: a question has more tokens than ``max_question_len``.
    ///
    /// Returns:
    ///     A list of at most ``top_k`` `Answer`s, or a list of such lists.
    #[pyo3(
        signature = (question, context, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, question, context, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn answers<'py>(
        &self,
        py: Python<'py>,
        question: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = argument::timeout)] timeout: Option<f64>,
        #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
        #[pyo3(from_py_with = argument::on_null)] on_null: OnNull,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let changes = self::options(options)?;
        let (found, is_list) = self.find(py, question, context, (timeout, progress, on_null), &changes)?;
        results::list_or_one(py, is_list, found, results::answers)
    }

    /// Finds the best answers to a question without reading the whole context, and says what was left unread.
    ///
    /// The windows of the context that have most words in common with the question are read first.
    /// ``most_windows`` gives the same result on every machine, and ``timeout`` what this one finds in time.
    /// If all windows are read, the answers are those of `answers`.
    ///
    /// >>> from mobilebert import QuestionAnswering
    /// >>> padding = "Trees grow slowly in the north. " * 300
    /// >>> context = f"{padding} The bridge was built by Ada Lovelace. {padding}"
    /// >>> found = QuestionAnswering("qa").answers_within("Who built the bridge?", context, most_windows=1)
    /// >>> found.answers[0].answer, found.windows_read, found.windows
    /// ('Ada Lovelace', 1, 17)
    /// >>> [(part.start, part.end) for part in found.unread]
    /// [(0, 9074), (10789, 19239)]
    ///
    /// Args:
    ///     question: a text.
    ///     context: the text that holds the answer, or a `Context`.
    ///     most_windows: the most windows of the context that are read; all by default.
    ///     timeout: seconds after which no pass begins. The search ends then with what it has found.
    ///     progress: a function that is called with the number of windows read and of all that may be. What it
    ///         raises ends the call.
    ///     options: options of the class, for this call only.
    ///
    /// Raises:
    ///     InvalidText: a text holds half of a surrogate pair.
    ///     EmptyText: the question or the context has no words.
    ///     TooLong: the question has more tokens than ``max_question_len``.
    ///     DeadlineExceeded: the time is over before the first pass begins.
    ///     MobileBertError: an option has a value that it cannot have.
    ///     TypeError: there is no such option.
    ///
    /// Returns:
    ///     `AnswersWithin`: at most ``top_k`` answers, whose scores are shares among the windows that were read,
    ///     the number of windows, the number of those that were read, and the parts of the context that were
    ///     not.
    #[pyo3(signature = (question, context, *, most_windows=None, timeout=None, progress=None, **options))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn answers_within<'py>(
        &self,
        py: Python<'py>,
        question: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = argument::most_windows)] most_windows: Option<usize>,
        #[pyo3(from_py_with = argument::timeout)] timeout: Option<f64>,
        #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let changes = self::options(options)?;
        let options =
            changed(self.pipeline.options(), &changes).map_err(|failure| exception(py, &failure))?;
        let (qa, question) = (&self.pipeline, text("question", question)?);
        let found = match context.cast::<Context>() {
            Ok(prepared) => {
                let context = prepared.get();
                watched_search(py, timeout, progress, |watch| {
                    answers_within(qa, &question, &context.prepared, most_windows, &options, watch)
                })?
            }
            Err(_) => {
                let context = text("context", context)?;
                watched_search(py, timeout, progress, |watch| {
                    answers_within_from(qa, &question, &context, most_windows, &options, watch)
                })?
            }
        };
        results::answers_within(py, found)
    }
}

/// Reads the only text of an argument.
fn text(name: &str, given: &Bound<'_, PyAny>) -> PyResult<PyBackedStr> {
    let text = given.cast::<PyString>().map_err(|_| argument::wrong(name, "a text", given))?;
    string(text, name)
}

type Found = (Vec<Vec<mobilebert_bindings::answer::Answer>>, bool);

impl QuestionAnswering {
    fn find(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        (timeout, progress, on_null): (Option<f64>, Option<Py<PyAny>>, OnNull),
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> PyResult<Found> {
        let options = changed(self.pipeline.options(), changes).map_err(|failure| exception(py, &failure))?;
        // With a context for each, what fails is a pair.
        let is_shared = context.cast::<Context>().is_ok() || context.cast::<PyString>().is_ok();
        let unit = if is_shared { "question" } else { "pair" };
        let Given { texts: mut questions, is_list } = texts(question, "question", unit, on_null)?;
        let given = match context.cast::<Context>() {
            Ok(prepared) => One(prepared.get().prepared.clone()),
            Err(_) => match texts(context, "context", unit, on_null)? {
                Given { texts, is_list: false } if is_list => Text(texts),
                Given { texts, is_list: true } if !is_list => Repeated(questions.text(0).to_owned(), texts),
                Given { mut texts, .. } => {
                    pair(py, &mut questions, &mut texts, "context")?;
                    Each(texts)
                }
            },
        };
        let is_list = is_list || matches!(given, Repeated(..));
        let found = watched(py, timeout, progress, |watch| match &given {
            One(prepared) => {
                answers(&self.pipeline, &questions, Contexts::One(prepared), is_list, &options, watch)
            }
            Text(text) => answers_from(&self.pipeline, &questions, text.text(0), is_list, &options, watch),
            Repeated(question, contexts) => {
                let questions = Same { question, contexts };
                answers(&self.pipeline, &questions, Contexts::Each(contexts), is_list, &options, watch)
            }
            Each(contexts) => {
                answers(&self.pipeline, &questions, Contexts::Each(contexts), is_list, &options, watch)
            }
        })?;
        Ok((found, is_list))
    }
}

/// One question for each of many contexts.
struct Same<'a> {
    question: &'a str,
    contexts: &'a Held,
}

impl Texts for Same<'_> {
    fn count(&self) -> usize {
        self.contexts.count()
    }

    fn text(&self, _: usize) -> &str {
        self.question
    }

    fn row(&self, index: usize) -> usize {
        self.contexts.row(index)
    }
}

/// The contexts that a caller gave.
enum GivenContexts {
    /// A prepared one for all questions.
    One(PreparedContext),
    /// A text for all questions.
    Text(Held),
    /// Contexts that one question is asked of.
    Repeated(String, Held),
    /// One for each question.
    Each(Held),
}
use GivenContexts::{Each, One, Repeated, Text};
