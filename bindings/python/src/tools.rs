//! Conversion, quantisation and evaluation.

use std::path::PathBuf;

use mobilebert_bindings::tools::{self, Conversion, Quantization};
use mobilebert_bindings::{Failure, Opening};
use pyo3::prelude::*;

use crate::call::watched_tool;
use crate::errors::exception;
use crate::input::object;
use crate::model::source;

/// Turns a model of another framework into a model folder.
#[pyfunction]
#[pyo3(signature = (source, destination, *, verify=false, force=false, config=None, vocab=None,
    progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn convert<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    destination: PathBuf,
    verify: bool,
    force: bool,
    config: Option<PathBuf>,
    vocab: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source(source)?;
    let options = Conversion { verify, force, config, vocab };
    let report = watched_tool(py, progress, |tell| tools::convert(source, &destination, options, tell))?;
    object(py, &report)
}

/// Writes the int8 form of a model, or that of 4 bits.
#[pyfunction]
#[pyo3(signature = (source, destination, *, bits=8, scales=None, task=None, data=None, max_drop=None,
    limit=None, max_f32_modules=None, threads=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    destination: PathBuf,
    bits: u8,
    scales: Option<String>,
    task: Option<String>,
    data: Option<PathBuf>,
    max_drop: Option<f64>,
    limit: Option<usize>,
    max_f32_modules: Option<usize>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source(source)?;
    let gate = match (task, data) {
        (Some(task), Some(data)) => Some((task, data)),
        (None, None) => None,
        (task, _) => {
            let (missing, given) = if task.is_some() { ("data", "task") } else { ("task", "data") };
            let expected = format!("a value beside `{given}`, because the model is scored on both");
            return Err(exception(py, &Failure::option(missing, expected, "missing")));
        }
    };
    let options = Quantization { bits: Some(bits), scales, gate, max_drop, limit, max_f32_modules };
    let opening = Opening { threads, ..Opening::default() };
    let report =
        watched_tool(py, progress, |tell| tools::quantize(source, &destination, &options, &opening, tell))?;
    object(py, &report)
}

/// Scores a model on a file of examples.
#[pyfunction]
#[pyo3(signature = (model, task, data, *, limit=None, threads=None, precision=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    model: &Bound<'py, PyAny>,
    task: &str,
    data: PathBuf,
    limit: Option<usize>,
    threads: Option<usize>,
    precision: Option<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source(model)?;
    let opening = Opening { threads, precision, ..Opening::default() };
    let report =
        watched_tool(py, progress, |tell| tools::evaluate(source, task, &data, limit, &opening, tell))?;
    object(py, &report)
}
