//! The native module `mobilebert._mobilebert` of the Python package. It turns Python's values into those of
//! `mobilebert-bindings` and back, and adds nothing to their meaning; the package's Python files add the
//! shapes of other libraries.

// The types of what Python sees are in `_mobilebert.pyi`. Its documentation is here: the comments of classes and
// methods are their docstrings.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod argument;
mod array;
mod arrow;
mod call;
mod doc;
mod errors;
mod input;
mod model;
mod results;
mod task;
mod tools;

/// The native module.
///
/// It is not declared free of the interpreter's lock, because no free-threaded interpreter has run its tests.
#[pyo3::pymodule(gil_used = true)]
mod _mobilebert {
    use pyo3::prelude::*;
    use pyo3::types::PyTuple;

    #[pymodule_export]
    use crate::array::Numbers;
    #[pymodule_export]
    use crate::model::Model;
    #[pymodule_export]
    use crate::task::answer::{Context, QuestionAnswering};
    #[pymodule_export]
    use crate::task::classify::TextClassification;
    #[pymodule_export]
    use crate::task::embed::Embedder;
    #[pymodule_export]
    use crate::task::fill::FillMask;
    #[pymodule_export]
    use crate::task::tag::TokenClassification;
    #[pymodule_export]
    use crate::tools::{convert, evaluate, quantize};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_CODES", PyTuple::new(module.py(), mobilebert_bindings::CODES.concat())?)
    }
}
