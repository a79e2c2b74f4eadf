//! Vectors of texts.

use mobilebert_bindings::embed::{Vectors, states, vectors};
use mobilebert_bindings::options::changed;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use crate::call::watched;
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::{array, results};

/// A pipeline that turns texts into vectors.
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct Embedder {
    pipeline: mobilebert_bindings::Embedder,
    origin: Origin,
}

#[pymethods]
impl Embedder {
    #[new]
    #[pyo3(signature = (model, *, threads=None, precision=None, special_tokens_in_text=true, **options))]
    fn new(
        model: &Bound<'_, PyAny>,
        threads: Option<usize>,
        precision: Option<String>,
        special_tokens_in_text: bool,
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

    #[getter]
    fn dimensions(&self) -> usize {
        self.pipeline.dimensions()
    }

    #[getter]
    fn is_trained_for_embeddings(&self) -> bool {
        self.pipeline.is_trained_for_embeddings()
    }

    #[pyo3(signature = (texts, *, timeout=None, progress=None, on_null="error", **options))]
    fn vectors<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        progress: Option<Py<PyAny>>,
        on_null: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let on_null = OnNull::named(py, on_null)?;
        let changes = crate::input::options(options)?;
        let options =
            changed(self.pipeline.options(), &changes).map_err(|failure| exception(py, &failure))?;
        let Given { texts, is_list } = self::texts(texts, "text", on_null)?;
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

    #[pyo3(signature = (texts, *, timeout=None, progress=None, on_null="error", **options))]
    fn token_states<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        progress: Option<Py<PyAny>>,
        on_null: &str,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let on_null = OnNull::named(py, on_null)?;
        let changes = crate::input::options(options)?;
        let options =
            changed(self.pipeline.options(), &changes).map_err(|failure| exception(py, &failure))?;
        let Given { texts, is_list } = self::texts(texts, "text", on_null)?;
        let found =
            watched(py, timeout, progress, |watch| states(&self.pipeline, &texts, is_list, &options, watch))?;
        results::list_or_one(py, is_list, found, |py, states| array::matrix(py, states.matrix))
    }
}
