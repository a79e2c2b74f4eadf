//! Numbers for NumPy, without a copy and without NumPy's headers.

use mobilebert_bindings::embed::Matrix;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// A block of numbers that NumPy reads in place through the array interface. The array keeps this object, and
/// with it the memory, alive.
#[pyclass(frozen, module = "mobilebert._mobilebert", name = "_Numbers")]
pub(crate) struct Numbers {
    /// The address of the first number. It was taken before the vector was put away, and nothing on this side
    /// reads or writes the numbers afterwards, so NumPy may do both.
    address: usize,
    shape: Vec<usize>,
    /// The owner of the memory.
    _values: Vec<f32>,
}

#[pymethods]
impl Numbers {
    #[getter(__array_interface__)]
    fn array_interface<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", if cfg!(target_endian = "little") { "<f4" } else { ">f4" })?;
        interface.set_item("shape", PyTuple::new(py, &self.shape)?)?;
        interface.set_item("data", (self.address, false))?;
        Ok(interface)
    }
}

/// Makes a NumPy array of these numbers.
pub(crate) fn array(py: Python<'_>, mut values: Vec<f32>, shape: Vec<usize>) -> PyResult<Py<PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let address = values.as_mut_ptr().expose_provenance();
    let numbers = Numbers { address, shape, _values: values };
    Ok(ASARRAY.import(py, "numpy", "asarray")?.call1((numbers,))?.unbind())
}

/// Makes a NumPy array of a matrix.
pub(crate) fn matrix(py: Python<'_>, matrix: Matrix) -> PyResult<Py<PyAny>> {
    array(py, matrix.values, vec![matrix.rows, matrix.columns])
}
