//! Arguments that callers give by name. Each is checked before any work, and its error names it.

use std::path::PathBuf;

use mobilebert_bindings::Failure;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use crate::errors::exception;
use crate::input::{OnNull, string};

/// Defines the function that reads each argument, for PyO3's `from_py_with`. Its name is that of the
/// argument.
macro_rules! arguments {
    ($($name:ident: $read:ident($expected:literal) -> $kind:ty;)*) => {$(
        pub(crate) fn $name(given: &Bound<'_, PyAny>) -> PyResult<$kind> {
            $read(stringify!($name), $expected, given)
        }
    )*};
}

arguments! {
    threads: whole("a whole number, 1 or more, or None for all cores") -> Option<usize>;
    limit: whole("a whole number of examples, or None for all") -> Option<usize>;
    max_f32_modules: whole("a whole number, 0 or more, or None for a quarter of them") -> Option<usize>;
    most_windows: whole("a whole number, 1 or more, or None for all") -> Option<usize>;
    bits: whole("8 or 4") -> Option<usize>;
    timeout: number("a number of seconds, 0 or more, or None") -> Option<f64>;
    max_drop: number("a number of points, 0 or more, or None for 0.5") -> Option<f64>;
    precision: text("`int8`, `bf16`, `f32` or None") -> Option<String>;
    scales: text("`max`, `error` or None") -> Option<String>;
    task: text("the name of a task") -> Option<String>;
    progress: function("a function or None") -> Option<Py<PyAny>>;
    special_tokens_in_text: optional_flag("True, False, or None for True") -> Option<bool>;
    verify: flag("True or False") -> bool;
    force: flag("True or False") -> bool;
    on_null: treatment("`error` or `skip`") -> OnNull;
    scored_task: required("the name of a task") -> String;
    destination: path("the path of a folder") -> PathBuf;
    config: optional_path("the path of a file or None") -> Option<PathBuf>;
    vocab: optional_path("the path of a file or None") -> Option<PathBuf>;
    data: optional_path("the path of a file") -> Option<PathBuf>;
}

/// The data of a tool that cannot do without.
pub(crate) fn examples(given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    path("data", "the path of a file", given)
}

/// Makes the error for the value of an argument or of an option.
pub(crate) fn wrong(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyErr {
    exception(given.py(), &Failure::option(name, expected, shown(given)))
}

/// Writes a value as Python does if it is short, and else its type.
fn shown(given: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 60;
    let is_plain = given.is_none()
        || given.is_instance_of::<PyInt>()
        || given.is_instance_of::<PyFloat>()
        || given.is_instance_of::<PyString>();
    // Python refuses to write numbers of thousands of digits, and text may hold half of a surrogate pair.
    let written = is_plain.then(|| given.repr().ok()).flatten();
    let written = written.and_then(|text| text.to_str().ok().map(str::to_owned));
    written.filter(|text| text.len() <= LONGEST).unwrap_or_else(|| {
        let name = given.get_type().name();
        format!("of the type {}", name.map_or_else(|_| "object".to_owned(), |name| name.to_string()))
    })
}

/// Reads a whole number: an `int`, or what can be used as one, such as NumPy's.
fn whole(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    if given.is_none() {
        return Ok(None);
    }
    if given.is_instance_of::<PyBool>() {
        return Err(wrong(name, expected, given));
    }
    given.extract().map(Some).map_err(|cause| {
        let is_large = given.is_instance_of::<PyInt>() && given.gt(0).unwrap_or(false);
        instead_of(cause, name, if is_large { "a smaller number" } else { expected }, given)
    })
}

/// The error of an argument whose conversion failed, but not in place of what stops a program, such as
/// `KeyboardInterrupt` while a method of the argument runs.
pub(crate) fn instead_of(cause: PyErr, name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyErr {
    if cause.is_instance_of::<PyException>(given.py()) { wrong(name, expected, given) } else { cause }
}

fn number(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if given.is_none() {
        return Ok(None);
    }
    match given.extract::<f64>() {
        Ok(number) if !given.is_instance_of::<PyBool>() && !number.is_nan() => Ok(Some(number)),
        Ok(_) => Err(wrong(name, expected, given)),
        Err(cause) => Err(instead_of(cause, name, expected, given)),
    }
}

fn text(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if given.is_none() {
        return Ok(None);
    }
    let text = given.cast::<PyString>().map_err(|_| wrong(name, expected, given))?;
    Ok(Some(string(text, &format!("argument `{name}`"))?.to_string()))
}

/// Reads the argument `task` of a tool that cannot do without.
fn required(_: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    text("task", expected, given)?.ok_or_else(|| wrong("task", expected, given))
}

fn flag(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.extract().map_err(|cause| instead_of(cause, name, expected, given))
}

fn optional_flag(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    if given.is_none() { Ok(None) } else { flag(name, expected, given).map(Some) }
}

fn treatment(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<OnNull> {
    let named = text(name, expected, given)?.as_deref().and_then(OnNull::named);
    named.ok_or_else(|| wrong(name, expected, given))
}

fn function(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    match given {
        none if none.is_none() => Ok(None),
        function if function.is_callable() => Ok(Some(function.clone().unbind())),
        other => Err(wrong(name, expected, other)),
    }
}

fn path(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    given.extract().map_err(|cause| instead_of(cause, name, expected, given))
}

fn optional_path(name: &str, expected: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<PathBuf>> {
    if given.is_none() { Ok(None) } else { path(name, expected, given).map(Some) }
}
