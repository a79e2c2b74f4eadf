//! Failures as Python's exceptions.

use mobilebert_bindings::Failure;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The code of an option that a task does not have, which Python calls an unexpected keyword argument.
const UNKNOWN_OPTION: &str = "unknown_option";

/// Makes the exception for a failure: the class of `mobilebert._errors` that goes with its code.
pub(crate) fn exception(py: Python<'_>, failure: &Failure) -> PyErr {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if failure.code() == UNKNOWN_OPTION {
        return PyTypeError::new_err(failure.message().to_owned());
    }
    let position = failure.position().map(|position| (position.char, position.byte, position.utf16));
    let fields = (failure.message(), failure.code(), failure.place(), failure.index(), position);
    match MAKE.import(py, "mobilebert._errors", "_make").and_then(|make| make.call1(fields)) {
        Ok(exception) => PyErr::from_value(exception),
        Err(broken) => broken,
    }
}
