//! Loaded models, and where they come from.

use std::path::PathBuf;

use mobilebert_bindings::{Failure, MemoryFiles, Opening, Result, Source, Task, find};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple};
use serde_json::{Map, Value};

use crate::argument;
use crate::call::detached;
use crate::errors::exception;

/// A loaded model, which any number of tasks can share.
///
/// >>> from mobilebert import Embedder, Model, QuestionAnswering
/// >>> model = Model("qa")
/// >>> qa, embedder = QuestionAnswering(model), Embedder(model)
/// >>> model.task, model.precision
/// ('question-answering', 'int8')
///
/// Args:
///     model: a name (``"qa"``, ``"sentiment"``, ``"ner"``, ``"embed"``, a hub id), the path of a folder, or a
///         dictionary of file names and bytes.
///     task: the task whose head is loaded, by the name of `pipeline`; the model's own by default.
#[doc = crate::doc::opening!()]
#[doc = crate::doc::opening_errors!()]
///     WrongTask: the model was trained for another task.
#[pyclass(frozen, module = "mobilebert")]
pub(crate) struct Model {
    pub(crate) model: mobilebert_bindings::Model,
    name: String,
}

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (model, *, task=None, threads=None, precision=None, special_tokens_in_text=None))]
    fn new(
        model: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = argument::task)] task: Option<String>,
        #[pyo3(from_py_with = argument::threads)] threads: Option<usize>,
        #[pyo3(from_py_with = argument::precision)] precision: Option<String>,
        #[pyo3(from_py_with = argument::special_tokens_in_text)] special_tokens_in_text: Option<bool>,
    ) -> PyResult<Self> {
        let py = model.py();
        let opening = opening(threads, precision, special_tokens_in_text);
        let task = task.as_deref().map(Task::named).transpose().map_err(|failure| exception(py, &failure))?;
        let loaded = from_source("model", SOURCES, model, |source| opening.open(source, task))?;
        Ok(Self { model: loaded, name: label(model) })
    }

    /// The name, path or description that the model was opened by.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The name of the task that the model's head is for, as `pipeline` takes it, or ``None``.
    #[getter]
    fn task(&self) -> Option<&'static str> {
        Task::of(&self.model).map(Task::name)
    }

    /// The labels of a classifier, and an empty list for other models.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.config().labels.clone()
    }

    /// The number of dimensions of hidden states.
    #[getter]
    fn hidden_size(&self) -> usize {
        self.model.config().hidden_size
    }

    /// The longest sequence in tokens, special tokens included.
    #[getter]
    fn max_length(&self) -> usize {
        self.model.max_len()
    }

    /// The number of threads that a call from this thread would run on.
    #[getter]
    fn threads(&self) -> usize {
        self.model.engine().threads()
    }

    /// What the model computes in: ``"int8"``, ``"bf16"`` or ``"f32"``.
    #[getter]
    fn precision(&self) -> String {
        self.model.engine().backend().precision().to_string()
    }

    /// The name of the kernel that multiplies matrices on this machine.
    #[getter]
    fn kernel(&self) -> String {
        self.model.engine().backend().kernel().to_owned()
    }

    fn __repr__(&self) -> String {
        let task = self.task().unwrap_or("none");
        format!("Model({:?}, task={task:?}, precision={:?})", self.name, self.precision())
    }
}

impl Model {
    pub(crate) fn of(model: &mobilebert_bindings::Model, name: &str) -> Self {
        Self { model: model.clone(), name: name.to_owned() }
    }
}

/// How a pipeline was opened, so that another process can open it again.
pub(crate) struct Origin {
    /// The name of the model in messages.
    pub(crate) name: String,
    /// The model, if it is a name or a path.
    source: Option<Py<PyAny>>,
    pub(crate) opening: Opening,
    /// The options that were given.
    pub(crate) options: Map<String, Value>,
}

impl Origin {
    pub(crate) fn new(
        model: &Bound<'_, PyAny>,
        threads: Option<usize>,
        precision: Option<String>,
        special_tokens_in_text: Option<bool>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let is_own = model.cast::<Model>().is_ok() || model.cast::<PyMapping>().is_ok();
        Ok(Self {
            name: label(model),
            source: (!is_own).then(|| model.clone().unbind()),
            opening: opening(threads, precision, special_tokens_in_text),
            options: crate::input::options(options)?,
        })
    }

    /// Returns the arguments that open the pipeline again, for `pickle`.
    pub(crate) fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let Some(source) = &self.source else {
            return Err(PyTypeError::new_err(format!(
                "a pipeline over the {} cannot be pickled, because its weights are in this process only; open \
                 it by a name or a path",
                if self.name == IN_MEMORY { IN_MEMORY } else { "Model that was loaded before" }
            )));
        };
        let named = crate::input::dict(py, &self.options)?;
        named.set_item("threads", self.opening.threads)?;
        named.set_item("precision", &self.opening.precision)?;
        named.set_item("special_tokens_in_text", self.opening.special_tokens_in_text)?;
        ((source,), named).into_pyobject(py)
    }
}

fn opening(
    threads: Option<usize>,
    precision: Option<String>,
    special_tokens_in_text: Option<bool>,
) -> Opening {
    Opening { threads, precision, special_tokens_in_text, ..Opening::default() }
}

/// The text that stands for a model in messages.
fn label(given: &Bound<'_, PyAny>) -> String {
    match given.cast::<Model>() {
        Ok(model) => model.get().name.clone(),
        Err(_) if given.cast::<PyMapping>().is_ok() => IN_MEMORY.to_owned(),
        Err(_) => given.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned()),
    }
}

const IN_MEMORY: &str = "model in memory";

/// Opens what a caller gave as a model: one that is loaded, or a source of one.
pub(crate) fn open<T: Send>(
    given: &Bound<'_, PyAny>,
    opening: &Opening,
    from_source_with: impl Fn(Source) -> Result<T> + Send + Sync,
    from_model: impl FnOnce(mobilebert_bindings::Model) -> Result<T> + Send,
) -> PyResult<T> {
    let py = given.py();
    let Ok(loaded) = given.cast::<Model>() else {
        return from_source("model", "a name, a path, a dict of files, or a Model", given, from_source_with);
    };
    let Opening { threads, precision, special_tokens_in_text, backend } = opening;
    let set = [
        ("threads", threads.is_some()),
        ("precision", precision.is_some()),
        ("special_tokens_in_text", special_tokens_in_text.is_some()),
        ("backend", backend.is_some()),
    ];
    if let Some((option, _)) = set.iter().find(|(_, given)| *given) {
        let expected = "nothing beside a Model, which was loaded with its own";
        return Err(exception(py, &Failure::option(option, expected, "given")));
    }
    let model = loaded.get().model.clone();
    detached(py, || from_model(model))
}

/// What names a model, where one that is loaded cannot take its place.
const SOURCES: &str = "a name, a path, or a dict of files";

/// Calls `open` with the source that a caller means by the argument `what`, which may be as `expected`. A name
/// that is not found is looked for in data packages and, if its extra is installed, on the hub.
pub(crate) fn from_source<T: Send>(
    what: &str,
    expected: &str,
    given: &Bound<'_, PyAny>,
    open: impl Fn(Source) -> Result<T> + Send + Sync,
) -> PyResult<T> {
    let py = given.py();
    if let Ok(files) = given.cast::<PyMapping>() {
        let files = files_in_memory(files)?;
        return detached(py, || open(Source::Memory(files)));
    }
    // Text that is not Unicode is a path that is not, as the file system gave it.
    let name = given.cast::<PyString>().ok().and_then(|name| name.to_str().ok());
    let Some(name) = name else {
        let path: PathBuf = given.extract().map_err(|cause: PyErr| {
            if !cause.is_instance_of::<PyException>(py) {
                return cause;
            }
            let kind = given.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
            PyTypeError::new_err(format!("{what} is {kind}; expected {expected}"))
        })?;
        return detached(py, || open(Source::Folder(path)));
    };
    let failure = match py.detach(|| find(name).and_then(&open)) {
        Ok(opened) => return Ok(opened),
        Err(failure) if failure.code() == "unknown_model" => failure,
        Err(failure) => return Err(exception(py, &failure)),
    };
    static RESOLVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = RESOLVE.import(py, "mobilebert._models", "resolve")?.call1((name,))?;
    if found.is_none() {
        return Err(exception(py, &failure));
    }
    let folder: PathBuf = found.extract()?;
    detached(py, || open(Source::Folder(folder)))
}

fn files_in_memory(files: &Bound<'_, PyMapping>) -> PyResult<MemoryFiles> {
    let mut memory = MemoryFiles::new(IN_MEMORY);
    for item in files.items()?.iter() {
        let (name, bytes): (String, PyBackedBytes) = item.extract().map_err(|_| {
            PyTypeError::new_err(
                "a model in memory is a dict of file names and bytes, as {\"config.json\": b\"...\"}",
            )
        })?;
        memory = memory.file(name, bytes.to_vec());
    }
    Ok(memory)
}

/// Returns the options of a task as a dictionary. All answers or labels are `top_k=None`, as in calls.
pub(crate) fn options_dict<'py, T: serde::Serialize>(
    py: Python<'py>,
    options: &T,
) -> PyResult<Bound<'py, PyDict>> {
    let mut fields = mobilebert_bindings::options::map(options);
    if let Some(top_k) = fields.get_mut("top_k").filter(|top_k| top_k.as_u64() == Some(usize::MAX as u64)) {
        *top_k = Value::Null;
    }
    crate::input::dict(py, &fields)
}

/// Finds the source that a caller of a tool means by the argument `what`.
pub(crate) fn source(what: &str, given: &Bound<'_, PyAny>) -> PyResult<Source> {
    from_source(what, "a name or a path", given, mobilebert_bindings::tools::locate)
}
