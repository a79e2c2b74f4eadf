//! Results as the frozen classes of `mobilebert._results`.

use mobilebert_bindings::Place;
use mobilebert_bindings::answer::{Answer, AnswersWithin};
use mobilebert_bindings::tag::Entity;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple};

type Class = PyOnceLock<Py<PyAny>>;

fn make<'py>(class: &Class, name: &str, fields: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
    class.import(fields.py(), "mobilebert._results", name)?.call1(fields)
}

/// The places as Python's fields: start and end in code points, and the pairs in bytes and UTF-16 units.
fn spans(place: &Place) -> (usize, usize, (usize, usize), (usize, usize)) {
    let Place { byte, char, utf16 } = place;
    (char.start, char.end, (byte.start, byte.end), (utf16.start, utf16.end))
}

pub(crate) fn answer<'py>(py: Python<'py>, found: Answer) -> PyResult<Bound<'py, PyAny>> {
    static ANSWER: Class = Class::new();
    static PLACE: Class = Class::new();
    let other = |(score, place): &(f32, Place)| {
        let (start, end, byte, utf16) = spans(place);
        make(&PLACE, "AnswerPlace", (*score, start, end, byte, utf16).into_pyobject(py)?)
    };
    let others: Vec<_> = found.others.iter().map(other).collect::<PyResult<_>>()?;
    let (start, end, byte, utf16) = spans(&found.place);
    let others = PyTuple::new(py, others)?;
    make(&ANSWER, "Answer", (found.answer, found.score, start, end, byte, utf16, others).into_pyobject(py)?)
}

pub(crate) fn answers<'py>(py: Python<'py>, found: Vec<Answer>) -> PyResult<Bound<'py, PyList>> {
    list(py, found, answer)
}

pub(crate) fn answers_within<'py>(py: Python<'py>, found: AnswersWithin) -> PyResult<Bound<'py, PyAny>> {
    static WITHIN: Class = Class::new();
    static UNREAD: Class = Class::new();
    let part = |place: &Place| make(&UNREAD, "UnreadPart", spans(place).into_pyobject(py)?);
    let unread: Vec<_> = found.unread.iter().map(part).collect::<PyResult<_>>()?;
    let (answers, unread) = (answers(py, found.answers)?, PyTuple::new(py, unread)?);
    make(&WITHIN, "AnswersWithin", (answers, found.windows, found.windows_read, unread).into_pyobject(py)?)
}

pub(crate) fn classification<'py>(
    py: Python<'py>,
    found: mobilebert_bindings::classify::Classification,
) -> PyResult<Bound<'py, PyAny>> {
    static CLASSIFICATION: Class = Class::new();
    static LABEL: Class = Class::new();
    let label = |label: mobilebert_bindings::classify::LabelScore| {
        make(&LABEL, "LabelScore", (label.label, label.score).into_pyobject(py)?)
    };
    let labels: Vec<_> = found.labels.into_iter().map(label).collect::<PyResult<_>>()?;
    make(&CLASSIFICATION, "Classification", (PyTuple::new(py, labels)?, found.truncated).into_pyobject(py)?)
}

fn entity<'py>(py: Python<'py>, found: Entity) -> PyResult<Bound<'py, PyAny>> {
    static ENTITY: Class = Class::new();
    let (start, end, byte, utf16) = spans(&found.place);
    let fields = (found.label, found.score, found.word, start, end, byte, utf16, found.grouped);
    make(&ENTITY, "Entity", fields.into_pyobject(py)?)
}

pub(crate) fn entities<'py>(py: Python<'py>, found: Vec<Entity>) -> PyResult<Bound<'py, PyList>> {
    list(py, found, entity)
}

fn fill<'py>(py: Python<'py>, found: mobilebert_bindings::fill::Fill) -> PyResult<Bound<'py, PyAny>> {
    static FILL: Class = Class::new();
    let fields = (found.sequence, found.score, found.token, found.token_str);
    make(&FILL, "Fill", fields.into_pyobject(py)?)
}

pub(crate) fn masks<'py>(
    py: Python<'py>,
    found: Vec<Vec<mobilebert_bindings::fill::Fill>>,
) -> PyResult<Bound<'py, PyList>> {
    list(py, found, |py, fills| list(py, fills, fill))
}

pub(crate) fn embeddings<'py>(
    py: Python<'py>,
    array: Py<PyAny>,
    truncated: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static EMBEDDINGS: Class = Class::new();
    make(&EMBEDDINGS, "Embeddings", (array, truncated).into_pyobject(py)?)
}

/// Makes a list of results.
pub(crate) fn list<'py, T, P: IntoPyObject<'py>>(
    py: Python<'py>,
    found: Vec<T>,
    mut make: impl FnMut(Python<'py>, T) -> PyResult<P>,
) -> PyResult<Bound<'py, PyList>> {
    let results: Vec<P> = found.into_iter().map(|found| make(py, found)).collect::<PyResult<_>>()?;
    PyList::new(py, results)
}

/// Returns a list of results for a list of inputs, and the only result for a single one.
pub(crate) fn list_or_one<'py, T, P: IntoPyObject<'py>>(
    py: Python<'py>,
    is_list: bool,
    found: Vec<T>,
    make: impl FnMut(Python<'py>, T) -> PyResult<P>,
) -> PyResult<Bound<'py, PyAny>> {
    let results = list(py, found, make)?;
    if is_list { Ok(results.into_any()) } else { results.get_item(0) }
}
