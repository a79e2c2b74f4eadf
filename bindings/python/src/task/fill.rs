//! Words for masks.

use mobilebert_bindings::fill::fills;
use mobilebert_bindings::options::changed;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::argument;
use crate::call::watched;
use crate::doc::{calling, opening, opening_errors};
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// Finds words for the masks of texts.
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
///         dictionary of file names and bytes, or a `Model`. There is no built-in one.
#[doc = opening!()]
///     options: options of all calls that bring none: ``top_k`` (how many words, 5) and ``targets`` (the only
///         words to rank, each of which has to be in the vocabulary).
#[doc = opening_errors!()]
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct FillMask {
    pipeline: mobilebert_bindings::FillMask,
    origin: Origin,
}

#[pymethods]
impl FillMask {
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
            |source| opening.fills(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::FillMask::from_parts(model, options)?)
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

    /// The text that stands for a mask, such as ``"[MASK]"``.
    #[getter]
    fn mask_token(&self) -> String {
        let tokenizer = self.pipeline.tokenizer();
        let mask = tokenizer.special_ids().mask.and_then(|id| tokenizer.id_to_token(id));
        mask.unwrap_or_default().to_owned()
    }

    /// Returns words for each mask of a text, or of each of many texts.
    ///
    /// Args:
    ///     texts: a text with at least one mask; or a list of such texts, a column of a table, or anything
    ///         that gives texts.
    #[doc = calling!()]
    ///     TooLong: a text does not fit the model.
    ///
    /// Returns:
    ///     For a text, a list with an entry for each mask, which is a list of `Fill`, best first. For many
    ///     texts, a list of such lists.
    #[pyo3(
        signature = (texts, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, texts, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    fn fill<'py>(
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
        let found =
            watched(py, timeout, progress, |watch| fills(&self.pipeline, &texts, is_list, &options, watch))?;
        results::list_or_one(py, is_list, found, results::masks)
    }
}
