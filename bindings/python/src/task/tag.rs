//! Token classification.

use mobilebert_bindings::options::changed;
use mobilebert_bindings::tag::entities;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::watched;
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, options_dict};
use crate::results;

/// A pipeline that labels the words of texts.
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct TokenClassification {
    pipeline: mobilebert_bindings::TokenClassification,
    name: String,
}

#[pymethods]
impl TokenClassification {
    #[new]
    #[pyo3(signature = (model, *, threads=None, precision=None, special_tokens_in_text=true, **options))]
    fn new(
        model: &Bound<'_, PyAny>,
        threads: Option<usize>,
        precision: Option<String>,
        special_tokens_in_text: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let opening = model::opening(threads, precision, special_tokens_in_text);
        let changes = crate::input::options(options)?;
        let pipeline = model::open(
            model,
            &opening,
            |source| opening.entities(source, &changes),
            |model| {
                let options = changed(&Default::default(), &changes)?;
                Ok(mobilebert_bindings::TokenClassification::from_parts(model, options)?)
            },
        )?;
        Ok(Self { pipeline, name: model::label(model) })
    }

    #[getter]
    fn model(&self) -> Model {
        Model::of(self.pipeline.model(), &self.name)
    }

    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        options_dict(py, self.pipeline.options())
    }

    #[pyo3(signature = (texts, *, timeout=None, progress=None, on_null="error", **options))]
    fn tag<'py>(
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
            entities(&self.pipeline, &texts, is_list, &options, watch)
        })?;
        results::list_or_one(py, is_list, found, results::entities)
    }
}
