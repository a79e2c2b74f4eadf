//! Question answering.

use mobilebert_bindings::answer::{Contexts, answers};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{Failure, PreparedContext, Texts};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::call::{detached, watched};
use crate::errors::exception;
use crate::input::{Given, Held, OnNull, options, pair, string, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// A context that was tokenised once, for any number of questions.
#[pyclass(frozen, module = "mobilebert")]
pub(crate) struct Context {
    prepared: PreparedContext,
}

#[pymethods]
impl Context {
    #[getter]
    fn text(&self) -> &str {
        self.prepared.text()
    }
}

/// A pipeline that finds answers in contexts.
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct QuestionAnswering {
    pipeline: mobilebert_bindings::QuestionAnswering,
    origin: Origin,
}

#[pymethods]
impl QuestionAnswering {
    #[new]
    #[pyo3(signature = (model=None, *, threads=None, precision=None, special_tokens_in_text=true, **options))]
    fn new(
        py: Python<'_>,
        model: Option<Bound<'_, PyAny>>,
        threads: Option<usize>,
        precision: Option<String>,
        special_tokens_in_text: bool,
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

    #[getter]
    fn model(&self) -> Model {
        Model::of(self.pipeline.model(), &self.origin.name)
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.origin.arguments(py)
    }

    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options_dict(py, self.pipeline.options())
    }

    fn prepare(&self, context: &Bound<'_, PyString>) -> PyResult<Context> {
        let text = string(context, "context")?;
        let prepared = detached(context.py(), || Ok(self.pipeline.prepare(&*text)?))?;
        Ok(Context { prepared })
    }

    #[pyo3(signature = (question, context, *, timeout=None, progress=None, on_null="error", **options))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        question: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        progress: Option<Py<PyAny>>,
        on_null: &str,
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

    #[pyo3(signature = (question, context, *, timeout=None, progress=None, on_null="error", **options))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn answers<'py>(
        &self,
        py: Python<'py>,
        question: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        progress: Option<Py<PyAny>>,
        on_null: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let changes = self::options(options)?;
        let (found, is_list) = self.find(py, question, context, (timeout, progress, on_null), &changes)?;
        results::list_or_one(py, is_list, found, results::answers)
    }
}

type Found = (Vec<Vec<mobilebert_bindings::answer::Answer>>, bool);

impl QuestionAnswering {
    fn find(
        &self,
        py: Python<'_>,
        question: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        (timeout, progress, on_null): (Option<f64>, Option<Py<PyAny>>, &str),
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> PyResult<Found> {
        let on_null = OnNull::named(py, on_null)?;
        let options = changed(self.pipeline.options(), changes).map_err(|failure| exception(py, &failure))?;
        let Given { texts: mut questions, is_list } = texts(question, "question", on_null)?;
        let given = match context.cast::<Context>() {
            Ok(prepared) => One(prepared.get().prepared.clone()),
            Err(_) => match texts(context, "context", on_null)? {
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
            Text(text) => {
                let prepared = self.pipeline.prepare(text.text(0))?;
                answers(&self.pipeline, &questions, Contexts::One(&prepared), is_list, &options, watch)
            }
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
