//! Conversion, quantisation and evaluation.

use std::path::PathBuf;

use mobilebert_bindings::tools::{self, Conversion, Quantization};
use mobilebert_bindings::{Failure, Opening};
use pyo3::prelude::*;

use crate::argument;
use crate::call::watched_tool;
use crate::errors::exception;
use crate::input::object;
use crate::model::source;

/// Turns a model of another framework into a model folder: what ``save_pretrained`` wrote, a TensorFlow
/// checkpoint, an ONNX or a LiteRT graph.
///
/// Args:
///     source: the path of a folder or a file, or a hub id.
///     destination: the new folder. It appears when it is complete.
///     verify: runs both models and compares them layer by layer.
///     force: replaces a model folder at the destination.
///     config: the path of ``config.json``, if it is not beside the weights.
///     vocab: the path of ``vocab.txt``, if it is not beside the weights.
///     progress: a function that is called with the step, what is done of it, and the whole. What it raises
///         ends the work, and leaves no folder.
///
/// Returns:
///     A dictionary: ``class``, ``tensors``, ``bytes`` and more.
///
/// Raises:
///     ModelNotFound: there is nothing at the source.
///     MobileBertError: the source cannot be read, the destination exists, or the models differ.
#[pyfunction]
#[pyo3(signature = (source, destination, *, verify=false, force=false, config=None, vocab=None,
    progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn convert<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = argument::destination)] destination: PathBuf,
    #[pyo3(from_py_with = argument::verify)] verify: bool,
    #[pyo3(from_py_with = argument::force)] force: bool,
    #[pyo3(from_py_with = argument::config)] config: Option<PathBuf>,
    #[pyo3(from_py_with = argument::vocab)] vocab: Option<PathBuf>,
    #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source("source", source)?;
    let options = Conversion { verify, force, config, vocab };
    let report = watched_tool(py, progress, |tell| tools::convert(source, &destination, options, tell))?;
    object(py, &report)
}

/// Writes the int8 form of a model, or that of 4 bits.
///
/// With ``task`` and ``data``, both forms are scored on the same examples. The modules that cost most stay in
/// f32 until the score drops by no more than ``max_drop`` points, and the folder has the evidence.
///
/// Args:
///     source: the path of a model folder, or a name.
///     destination: the new folder. It appears when it is complete.
///     bits: 8 or 4, of a stored weight.
///     scales: ``"max"``, or ``"error"`` for the scales of least squared error; ``"max"`` by default.
///     task: ``"squad"``, ``"ner"``, ``"classify"``, ``"embed"`` or a task of GLUE.
///     data: the path of a file of examples.
///     max_drop: how many points the score may drop by; 0.5 by default.
///     limit: how many examples are scored; all by default.
///     max_f32_modules: how many modules may stay in f32; a quarter of them by default.
///     threads: the number of threads of each pass; all cores by default.
///     progress: a function that is called with the step (``"tensors"`` and, with a task, others), what is
///         done of it, and the whole. What it raises ends the work, and leaves no folder.
///
/// Returns:
///     A dictionary: ``quantized_tensors``, ``f32_tensors``, ``bytes`` and, with a task, ``metric``, ``f32``,
///     ``int8``, ``drop``, ``differing`` and more.
///
/// Raises:
///     ModelNotFound: there is no model at the source.
///     MobileBertError: the destination exists, an option has a value that it cannot have, or the score drops
///         too far (code ``gate``).
#[pyfunction]
#[pyo3(signature = (source, destination, *, bits=8, scales=None, task=None, data=None, max_drop=None,
    limit=None, max_f32_modules=None, threads=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = argument::destination)] destination: PathBuf,
    #[pyo3(from_py_with = argument::bits)] bits: Option<usize>,
    #[pyo3(from_py_with = argument::scales)] scales: Option<String>,
    #[pyo3(from_py_with = argument::task)] task: Option<String>,
    #[pyo3(from_py_with = argument::data)] data: Option<PathBuf>,
    #[pyo3(from_py_with = argument::max_drop)] max_drop: Option<f64>,
    #[pyo3(from_py_with = argument::limit)] limit: Option<usize>,
    #[pyo3(from_py_with = argument::max_f32_modules)] max_f32_modules: Option<usize>,
    #[pyo3(from_py_with = argument::threads)] threads: Option<usize>,
    #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source("source", source)?;
    let gate = match (task, data) {
        (Some(task), Some(data)) => Some((task, data)),
        (None, None) => None,
        (task, _) => {
            let (missing, given) = if task.is_some() { ("data", "task") } else { ("task", "data") };
            let expected = format!("a value beside `{given}`, because the model is scored on both");
            return Err(exception(py, &Failure::option(missing, expected, "missing")));
        }
    };
    let options = Quantization { bits, scales, gate, max_drop, limit, max_f32_modules };
    let opening = Opening { threads, ..Opening::default() };
    let report =
        watched_tool(py, progress, |tell| tools::quantize(source, &destination, &options, &opening, tell))?;
    object(py, &report)
}

/// Scores a model on a file of examples.
///
/// Args:
///     model: the path of a model folder, or a name.
///     task: ``"squad"``, ``"ner"``, ``"classify"``, ``"embed"`` or a task of GLUE.
///     data: the path of a file of examples.
///     limit: how many examples are scored; all by default.
///     threads: the number of threads of each pass; all cores by default.
///     precision: ``"int8"``, ``"bf16"`` or ``"f32"``; that of the stored weights by default.
///     progress: a function that is called with the step, what is done of it, and the whole. What it raises
///         ends the work.
///
/// Returns:
///     A dictionary: ``task``, ``metric``, ``total``, and the scores by their names.
///
/// Raises:
///     ModelNotFound: there is no model of this name.
///     WrongTask: the model was trained for another task.
///     MobileBertError: the data cannot be read, or an option has a value that it cannot have.
#[pyfunction]
#[pyo3(signature = (model, task, data, *, limit=None, threads=None, precision=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "they are Python's keyword arguments")]
pub(crate) fn evaluate<'py>(
    py: Python<'py>,
    model: &Bound<'py, PyAny>,
    #[pyo3(from_py_with = argument::scored_task)] task: String,
    #[pyo3(from_py_with = argument::examples)] data: PathBuf,
    #[pyo3(from_py_with = argument::limit)] limit: Option<usize>,
    #[pyo3(from_py_with = argument::threads)] threads: Option<usize>,
    #[pyo3(from_py_with = argument::precision)] precision: Option<String>,
    #[pyo3(from_py_with = argument::progress)] progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let source = self::source("model", model)?;
    let opening = Opening { threads, precision, ..Opening::default() };
    let report =
        watched_tool(py, progress, |tell| tools::evaluate(source, &task, &data, limit, &opening, tell))?;
    object(py, &report)
}
