//! Words for masks.

use mobilebert_bindings::fill::fills;
use mobilebert_bindings::options::changed;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call::watched;
use crate::errors::exception;
use crate::input::{Given, OnNull, texts};
use crate::model::{self, Model, Origin, options_dict};
use crate::results;

/// A pipeline that finds words for masks.
#[pyclass(frozen, subclass, module = "mobilebert")]
pub(crate) struct FillMask {
    pipeline: mobilebert_bindings::FillMask,
    origin: Origin,
}

#[pymethods]
impl FillMask {
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
            |source| opening.fills(source, options),
            |model| {
                let options = changed(&Default::default(), options)?;
                Ok(mobilebert_bindings::FillMask::from_parts(model, options)?)
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
    fn mask_token(&self) -> String {
        let tokenizer = self.pipeline.tokenizer();
        let mask = tokenizer.special_ids().mask.and_then(|id| tokenizer.id_to_token(id));
        mask.unwrap_or_default().to_owned()
    }

    #[pyo3(signature = (texts, *, timeout=None, progress=None, on_null="error", **options))]
    fn fill<'py>(
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
            watched(py, timeout, progress, |watch| fills(&self.pipeline, &texts, is_list, &options, watch))?;
        results::list_or_one(py, is_list, found, results::masks)
    }
}
