//! Texts and options as Python gives them.

use mobilebert_bindings::{Failure, Texts, lone_surrogate};
use pyo3::exceptions::{PyTypeError, PyUnicodeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde_json::{Map, Number, Value};

use crate::argument::{instead_of, wrong};
use crate::arrow::Column;
use crate::errors::exception;

/// The texts of a call.
pub(crate) struct Given {
    pub(crate) texts: Held,
    /// Whether the caller gave a list, so that a list is returned.
    pub(crate) is_list: bool,
}

/// Texts in the memory of their owner.
pub(crate) struct Held {
    owner: Owner,
    /// The rows that the texts had in the caller's list, if some of its rows are left out.
    rows: Option<Vec<usize>>,
    /// The number of rows of the caller's list.
    total: usize,
}

enum Owner {
    /// Python's strings: those in ASCII as they are, the others in the UTF-8 form that Python keeps.
    Strings(Vec<PyBackedStr>),
    /// A column of a table.
    Column(Column),
}

impl Texts for Held {
    fn count(&self) -> usize {
        match &self.owner {
            Owner::Strings(strings) => strings.len(),
            Owner::Column(column) => column.texts().len(),
        }
    }

    fn text(&self, index: usize) -> &str {
        match &self.owner {
            Owner::Strings(strings) => strings.get(index).map_or("", |text| text),
            Owner::Column(column) => column.texts().get(index).copied().unwrap_or(""),
        }
    }

    fn row(&self, index: usize) -> usize {
        self.rows.as_ref().map_or(index, |rows| rows.get(index).copied().unwrap_or(index))
    }
}

impl Held {
    fn strings(strings: Vec<PyBackedStr>, rows: Vec<usize>, total: usize) -> Self {
        let rows = (strings.len() < total).then_some(rows);
        Self { owner: Owner::Strings(strings), rows, total }
    }

    /// Keeps only the rows that `other` has too, so that pairs stay pairs if texts were left out. Lists of
    /// different lengths are left as they are; the task refuses them.
    fn keep_rows_of(&mut self, other: &Self) {
        let Some(wanted) = other.rows.as_ref().filter(|_| self.total == other.total) else { return };
        let rows: Vec<usize> = (0..self.count()).map(|index| self.row(index)).collect();
        let kept: Vec<bool> = rows.iter().map(|row| wanted.binary_search(row).is_ok()).collect();
        let mut keep = kept.iter().copied();
        match &mut self.owner {
            Owner::Strings(strings) => strings.retain(|_| keep.next().unwrap_or(false)),
            Owner::Column(column) => column.retain(|_| keep.next().unwrap_or(false)),
        }
        self.rows = Some(rows.into_iter().zip(kept).filter_map(|(row, kept)| kept.then_some(row)).collect());
    }
}

/// Leaves out the pairs of which either text was left out. `what` is the role of the second texts.
pub(crate) fn pair(py: Python<'_>, first: &mut Held, second: &mut Held, what: &str) -> PyResult<()> {
    if first.total != second.total && (first.rows.is_some() || second.rows.is_some()) {
        let problem = format!("there are {} for {} rows; pass one for each", second.total, first.total);
        return Err(exception(py, &Failure::input(what, problem)));
    }
    first.keep_rows_of(second);
    second.keep_rows_of(first);
    Ok(())
}

/// The treatment of missing texts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnNull {
    Error,
    Skip,
}

impl OnNull {
    /// Finds a treatment by its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "error" => Some(Self::Error),
            "skip" => Some(Self::Skip),
            _ => None,
        }
    }
}

/// Reads texts: a string, a column of a table, or anything that gives strings one after another. `what` is
/// their role, and `unit` what the list of the call holds, as in "pair"; both are for messages.
pub(crate) fn texts(given: &Bound<'_, PyAny>, what: &str, unit: &str, on_null: OnNull) -> PyResult<Given> {
    let py = given.py();
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(Given { texts: Held::strings(vec![string(text, what)?], Vec::new(), 1), is_list: false });
    }
    if let Some((column, rows, total)) = Column::read(given, what, on_null)? {
        let rows = (rows.len() < total).then_some(rows);
        return Ok(Given { texts: Held { owner: Owner::Column(column), rows, total }, is_list: true });
    }
    let no_text = |given: &Bound<'_, PyAny>, place: &str| {
        let kind = given.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
        let hint = if kind == "bytes" { "; decode bytes first, as in b.decode(\"utf-8\")" } else { "" };
        PyTypeError::new_err(format!("{place} is {kind}; expected str{hint}"))
    };
    let is_list = !given.is_instance_of::<PyBytes>()
        && !given.is_instance_of::<PyByteArray>()
        && !given.is_instance_of::<PyDict>();
    let Some(items) = is_list.then(|| given.try_iter().ok()).flatten() else {
        return Err(no_text(given, what));
    };
    // A length is a claim, and memory is taken for what is there.
    let mut strings = Vec::with_capacity(given.len().unwrap_or(0).min(1 << 16));
    let (mut rows, mut total) = (Vec::new(), 0);
    for (row, item) in items.enumerate() {
        let item = item?;
        if let Ok(text) = item.cast::<PyString>() {
            strings.push(string(text, what).map_err(|error| in_row(py, error, unit, row))?);
            if on_null == OnNull::Skip {
                rows.push(row);
            }
        } else if !is_null(&item) {
            return Err(no_text(&item, &format!("{what} {}", row + 1)));
        } else if on_null == OnNull::Error {
            return Err(null(py, what, row));
        }
        total = row + 1;
    }
    Ok(Given { texts: Held::strings(strings, rows, total), is_list: true })
}

/// Returns true for what table libraries put in place of a missing text.
fn is_null(item: &Bound<'_, PyAny>) -> bool {
    let is_na = || item.get_type().name().is_ok_and(|name| name == "NAType");
    item.is_none()
        || item.cast::<PyFloat>().is_ok_and(|number| number.extract::<f64>().is_ok_and(f64::is_nan))
        || is_na()
}

/// Makes the error for a missing text.
pub(crate) fn null(py: Python<'_>, what: &str, row: usize) -> PyErr {
    let problem = "it is missing; fill it, or pass on_null=\"skip\" to leave such rows out";
    exception(py, &Failure::input(what, problem).of("row", row))
}

/// Adds the row to the error of a text that is not Unicode.
fn in_row(py: Python<'_>, error: PyErr, unit: &str, row: usize) -> PyErr {
    // The row is known to the exception's class.
    let added = error.value(py).call_method1("_in_row", (unit, row));
    match added {
        Ok(exception) => PyErr::from_value(exception),
        Err(_) => error,
    }
}

/// Borrows a string.
pub(crate) fn string(text: &Bound<'_, PyString>, what: &str) -> PyResult<PyBackedStr> {
    let py = text.py();
    PyBackedStr::try_from(text.clone()).map_err(|error| {
        if !error.is_instance_of::<PyUnicodeError>(py) {
            return error;
        }
        not_unicode(text, what, &error).unwrap_or_else(|other| other)
    })
}

/// Makes the error for a string that holds half of a surrogate pair.
fn not_unicode(text: &Bound<'_, PyString>, what: &str, error: &PyErr) -> PyResult<PyErr> {
    let py = text.py();
    let start: usize = error.value(py).getattr("start")?.extract()?;
    let before: String = text.get_item(pyo3::types::PySlice::new(py, 0, start as isize, 1))?.extract()?;
    let surrogate: u32 = py.import("builtins")?.getattr("ord")?.call1((text.get_item(start)?,))?.extract()?;
    Ok(exception(py, &lone_surrogate(what, surrogate, &before)))
}

/// Reads options that were given by keyword.
pub(crate) fn options(given: Option<&Bound<'_, PyDict>>) -> PyResult<Map<String, Value>> {
    let mut options = Map::new();
    for (name, value) in given.into_iter().flatten() {
        // A name that is not Unicode is no option's, and the error for such shows it.
        let text = name.cast::<PyString>().map_err(|_| PyTypeError::new_err("keywords must be strings"))?;
        let name = text.to_string_lossy().into_owned();
        let value = option(&name, &value)?;
        options.insert(name, value);
    }
    Ok(options)
}

/// Reads the value of an option: one value, or a list of texts. A list in a list is none, so that one which
/// holds itself has an end.
fn option(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if !value.is_instance_of::<PyList>() && !value.is_instance_of::<PyTuple>() {
        return scalar(name, value);
    }
    let text = |item: Bound<'_, PyAny>| match item.cast::<PyString>() {
        Ok(_) => scalar(name, &item),
        Err(_) => Err(wrong(name, "a list of nothing but texts", value)),
    };
    value.try_iter()?.map(|item| text(item?)).collect()
}

fn scalar(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_none() {
        return Ok(Value::Null);
    }
    // Truth values and whole numbers of NumPy are not of Python's classes, but can be used as such.
    if let Ok(truth) = value.extract::<bool>() {
        return Ok(Value::Bool(truth));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::String(string(text, &format!("option `{name}`"))?.to_string()));
    }
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__")? {
        // What stops the program, such as `KeyboardInterrupt`, comes from the second attempt again.
        if let Ok(number) = value.extract::<u64>() {
            return Ok(number.into());
        }
        let expected = "a number of at most 64 bits";
        return match value.extract::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(cause) => Err(instead_of(cause, name, expected, value)),
        };
    }
    let expected = "a number, a text, a list of texts, True, False or None";
    let number: f64 = value.extract().map_err(|cause| instead_of(cause, name, expected, value))?;
    let number = Number::from_f64(number).ok_or_else(|| wrong(name, "a finite number", value))?;
    Ok(Value::Number(number))
}

/// Makes a Python value of JSON.
pub(crate) fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(truth) => PyBool::new(py, *truth).to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().into_pyobject(py)?,
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| object(py, item)).collect::<PyResult<_>>()?;
            PyList::new(py, items)?.into_any()
        }
        Value::Object(fields) => dict(py, fields)?.into_any(),
    })
}

/// Makes a Python dictionary of a JSON object.
pub(crate) fn dict<'py>(py: Python<'py>, fields: &Map<String, Value>) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in fields {
        dict.set_item(name, object(py, value)?)?;
    }
    Ok(dict)
}
