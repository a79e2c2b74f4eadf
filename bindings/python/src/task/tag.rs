//! Token classification.

use mobilebert_bindings::options::changed;
use mobilebert_bindings::tag::entities;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument;
use crate::call::watched;
use crate::doc::{calling, opening, opening_errors};
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// Labels the words of texts, and joins them to entities.
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
///         dictionary of file names and bytes, or a `Model`. ``"ner"`` knows people, places and organisations, and
///         is the default of ``pipeline("token-classification")``.
#[doc = opening!()]
///     options: options of all calls that bring none: ``aggregation_strategy`` (``"none"``, ``"simple"``,
///         ``"first"``, ``"average"``, ``"max"``), ``ignore_labels`` (``["O"]``), ``max_seq_len`` and
///         ``doc_stride`` (of the windows that a long text is cut into).
#[doc = opening_errors!()]
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct TokenClassification {
    pipeline: mobilebert_bindings::TokenClassification,
    origin: Origin,
}

#[pymethods]
impl TokenClassification {
    #[new]
    #[pyo3(signature = (model, *, threads=None, precision=None, special_tokens_in_text=None, **options))]
    fn new(
        model: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = argument::threads)] threads: Option<usize>,
        #[pyo3(from_py_with = argument::precision)] precision: Option<String>,
        #[pyo3(from_py_with = argument::special_tokens_in_text)] special_tokens_in_text: Option<bool>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let origin = Origin::new(model, threads, precision, special_tokens_in_text, options)?;
        let Origin { opening, options, .. } = &origin;
        let pipeline = model::open(
            model,
            opening,
            |source| opening.entities(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::TokenClassification::from_parts(model, options)?)
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

    /// Returns the labelled pieces of a text, or those of each of many.
    ///
    /// Args:
    ///     texts: a text; or a list of texts, a column of a table, or anything that gives texts.
    #[doc = calling!()]
    ///     EmptyText: a text has no words.
    ///
    /// Returns:
    ///     A list of `Entity`, or a list of such lists. The entities are in the order of the text.
    #[pyo3(
        signature = (texts, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, texts, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    fn tag<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = argument::timeout)] timeout: Option<f64>,
        #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
        #[pyo3(from_py_with = argument::on_null)] on_null: OnNull,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let changes = crate::input::options(options)?;
        let options =
            changed(self.pipeline.options(), &changes).map_err(|failure| exception(py, &failure))?;
        let Given { texts, is_list } = self::texts(texts, "text", "text", on_null)?;
        let found = watched(py, timeout, progress, |watch| {
            entities(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        results::list_or_one(py, is_list, found, results::entities)
    }
}
