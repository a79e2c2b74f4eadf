//! Vectors of texts.

use mobilebert_bindings::embed::{Vectors, states, vectors};
use mobilebert_bindings::options::changed;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use crate::argument;
use crate::call::watched;
use crate::doc::{calling, opening, opening_errors};
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::{array, results};

/// Turns texts into vectors. `mobilebert.Embedder` is this class with the methods of other libraries.
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, a
///         dictionary of file names and bytes, or a `Model`.
#[doc = opening!()]
///     options: options of all calls that bring none: ``pooling``, ``normalize`` and ``max_seq_len``.
#[doc = opening_errors!()]
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct Embedder {
    pipeline: mobilebert_bindings::Embedder,
    origin: Origin,
}

#[pymethods]
impl Embedder {
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
            |source| opening.vectors(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::Embedder::from_parts(model, options)?)
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

    /// The number of dimensions of a vector.
    #[getter]
    fn dimensions(&self) -> usize {
        self.pipeline.dimensions()
    }

    /// Whether the model was trained for vectors of texts. Any other gives some too, but they say less.
    #[getter]
    fn is_trained_for_embeddings(&self) -> bool {
        self.pipeline.is_trained_for_embeddings()
    }

    /// Returns the vectors of texts, and whether their ends were not read.
    ///
    /// >>> from mobilebert import Embedder
    /// >>> found = Embedder("embed").vectors(["How old are you?", "What is your age?"])
    /// >>> found.array.shape, found.truncated
    /// ((2, 384), (False, False))
    ///
    /// Args:
    ///     texts: a text; or a list of texts, a column of a table, or anything that gives texts.
    #[doc = calling!()]
    ///     EmptyText: a text has no words.
    ///
    /// Returns:
    ///     `Embeddings`: an array ``float32 [n, dim]``, or of one dimension for a single text, and the flags.
    ///     NumPy reads the engine's memory.
    #[pyo3(
        signature = (texts, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, texts, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    fn vectors<'py>(
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
            vectors(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        let Vectors { matrix, truncated } = found;
        if is_list {
            return results::embeddings(
                py,
                array::matrix(py, matrix)?,
                PyTuple::new(py, truncated)?.into_any(),
            );
        }
        let array = array::array(py, matrix.values, vec![matrix.columns])?;
        let truncated = PyBool::new(py, truncated.first().copied().unwrap_or_default()).to_owned();
        results::embeddings(py, array, truncated.into_any())
    }

    /// Returns the last hidden states of the tokens of a text, or those of each of many.
    ///
    /// Args:
    ///     texts: a text; or a list of texts, a column of a table, or anything that gives texts.
    #[doc = calling!()]
    ///     EmptyText: a text has no words.
    ///
    /// Returns:
    ///     An array ``float32 [tokens, hidden]``, or a list of them. The special tokens have rows too.
    #[pyo3(
        signature = (texts, *, timeout=None, progress=None, on_null=OnNull::Error, **options),
        text_signature = "($self, texts, *, timeout=None, progress=None, on_null='error', **options)"
    )]
    fn token_states<'py>(
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
            watched(py, timeout, progress, |watch| states(&self.pipeline, &texts, is_list, &options, watch))?;
        results::list_or_one(py, is_list, found, |py, states| array::matrix(py, states.matrix))
    }
}
