//! Text classification.

use mobilebert_bindings::classify::labels;
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{Failure, Texts};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::argument;
use crate::call::watched;
use crate::doc::{calling, opening, opening_errors};
use crate::errors::exception;
use crate::input::{Given, OnNull, pair, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// Labels texts, and pairs of texts.
///
/// >>> from mobilebert import TextClassification
/// >>> TextClassification("sentiment").classify("a joy to watch").label
/// 'positive'
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
///         dictionary of file names and bytes, or a `Model`. ``"sentiment"`` by default.
#[doc = opening!()]
///     options: options of all calls that bring none: ``top_k`` (how many labels, ``None`` for all),
///         ``threshold`` (the lowest score), ``function_to_apply`` (``"auto"``, ``"softmax"``, ``"sigmoid"``,
///         ``"none"``), ``long_text`` (``"truncate"``, ``"windows-mean"``, ``"windows-max"``, ``"refuse"``),
///         ``max_seq_len``, ``doc_stride`` and ``labels`` (the only ones to report).
#[doc = opening_errors!()]
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct TextClassification {
    pipeline: mobilebert_bindings::TextClassification,
    origin: Origin,
}

#[pymethods]
impl TextClassification {
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
        let model = model.unwrap_or_else(|| PyString::new(py, "sentiment").into_any());
        let origin = Origin::new(&model, threads, precision, special_tokens_in_text, options)?;
        let Origin { opening, options, .. } = &origin;
        let pipeline = model::open(
            &model,
            opening,
            |source| opening.labels(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::TextClassification::from_parts(model, options)?)
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

    /// The labels that the model knows.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.pipeline.model().config().labels.clone()
    }

    /// Labels a text, or each of many.
    ///
    /// >>> from mobilebert import TextClassification
    /// >>> [found.label for found in TextClassification("sentiment").classify(["a joy", "dull"])]
    /// ['positive', 'negative']
    ///
    /// Args:
    ///     texts: a text; or a list of texts, a column of a table, or anything that gives texts.
    ///     text_pair: the second text of a pair, or a list of one for each text.
    #[doc = calling!()]
    ///     EmptyText: a text has no words.
    ///     TooLong: a text does not fit the model, and ``long_text`` is ``"refuse"``.
    ///
    /// Returns:
    ///     A `Classification`, or a list of them.
    #[pyo3(
        signature = (texts, text_pair=None, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, texts, text_pair=None, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    #[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
    fn classify<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        text_pair: Option<&Bound<'py, PyAny>>,
        #[pyo3(from_py_with = argument::timeout)] timeout: Option<f64>,
        #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
        #[pyo3(from_py_with = argument::on_null)] on_null: OnNull,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let changes = crate::input::options(options)?;
        let options =
            changed(self.pipeline.options(), &changes).map_err(|failure| exception(py, &failure))?;
        let unit = if text_pair.is_some() { "pair" } else { "text" };
        let Given { mut texts, is_list } = self::texts(texts, "text", unit, on_null)?;
        let mut pairs = text_pair.map(|pair| self::texts(pair, "second text", unit, on_null)).transpose()?;
        if pairs.as_ref().is_some_and(|pairs| pairs.is_list != is_list) {
            let problem = "expected one for each text: a str for a str, a list for a list";
            return Err(exception(py, &Failure::input("text_pair", problem)));
        }
        if let Some(pairs) = &mut pairs {
            pair(py, &mut texts, &mut pairs.texts, "text_pair")?;
        }
        let found = watched(py, timeout, progress, |watch| {
            let pairs = pairs.as_ref().map(|pairs| &pairs.texts as &dyn Texts);
            labels(&self.pipeline, &texts, pairs, is_list, &options, watch)
        })?;
        results::list_or_one(py, is_list, found, results::classification)
    }
}
