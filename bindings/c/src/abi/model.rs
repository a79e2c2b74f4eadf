//! Models.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::{CString, c_char};
use std::ptr;
use std::sync::OnceLock;

use mobilebert_bindings::{Embedder, Model, Opening, Result, Source, Task, find};

use super::error::c_string;
use crate::call::{ErrorOut, quietly, run};
use crate::given::switch;
use crate::memory;

/// A choice between the default, on and off: one of MOBILEBERT_DEFAULT, MOBILEBERT_ON and MOBILEBERT_OFF.
pub type MobilebertSwitch = i32;
/// What the model or the library does without a choice.
pub const MOBILEBERT_DEFAULT: i32 = 0;
/// The option is on.
pub const MOBILEBERT_ON: i32 = 1;
/// The option is off.
pub const MOBILEBERT_OFF: i32 = 2;

/// A number of results that means all of them.
pub const MOBILEBERT_ALL: usize = usize::MAX;

/// How to open a model. `mobilebert_open_options` makes the defaults; every field that is zero means the
/// default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertOpenOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// The task that the model is opened for: "question-answering", "text-classification",
    /// "token-classification", "fill-mask" or "feature-extraction". A model that was not trained for it is an
    /// error when it is opened, instead of when it is called. Default: the model's own. Embeddings need no
    /// choice; "feature-extraction" leaves out the weights that other tasks need.
    task: *const c_char,
    /// The number of threads for each pass. With 1, calls run on the calling thread, so that several threads
    /// of the program run side by side. Default: one for each processor that the process may use, shared by
    /// all models. Results do not depend on it.
    threads: usize,
    /// "int8", "bf16" or "f32". Default: that of the stored weights.
    precision: *const c_char,
    /// Off if "[SEP]" and the like in a text are plain characters. Default: they are special tokens.
    special_tokens_in_text: MobilebertSwitch,
    /// Who computes. Default: "native", the only one of this library. A library of a product's own may have
    /// others, see docs/extending.md.
    backend: *const c_char,
}

/// A loaded model. Any number of threads may call functions with one model at the same time; only
/// `mobilebert_model_free` needs to be alone with it.
pub struct MobilebertModel {
    model: Model,
    /// Made by the first call that needs vectors.
    embedder: OnceLock<Embedder>,
    task: Option<CString>,
    precision: CString,
    kernel: CString,
    labels: Vec<CString>,
}

impl MobilebertModel {
    /// Returns the loaded model.
    pub(crate) fn loaded(&self) -> Model {
        self.model.clone()
    }

    /// Returns the pipeline that computes vectors.
    pub(crate) fn embedder(&self) -> Result<&Embedder> {
        if let Some(made) = self.embedder.get() {
            return Ok(made);
        }
        let made = Embedder::from_parts(self.loaded(), Default::default())?;
        Ok(self.embedder.get_or_init(|| made))
    }

    /// Opens a model.
    pub(super) fn open(source: Source, options: *const MobilebertOpenOptions) -> Result<Box<Self>> {
        let given = memory::options(options)?;
        let task = memory::name(given.task, "task")?.map(Task::named).transpose()?;
        let opening = Opening {
            threads: (given.threads > 0).then_some(given.threads),
            precision: memory::name(given.precision, "precision")?.map(str::to_owned),
            special_tokens_in_text: switch("special_tokens_in_text", given.special_tokens_in_text)?,
            backend: memory::name(given.backend, "backend")?.map(str::to_owned),
        };
        let model = opened(&opening, source, task)?;
        let backend = model.engine().backend();
        Ok(Box::new(Self {
            task: Task::of(&model).map(|task| c_string(task.name())),
            precision: c_string(&backend.precision().to_string()),
            kernel: c_string(backend.kernel()),
            labels: model.config().labels.iter().map(|label| c_string(label)).collect(),
            embedder: OnceLock::new(),
            model,
        }))
    }
}

/// Opens a model for a task as the task does, which refuses a model of another one by that name.
fn opened(opening: &Opening, source: Source, task: Option<Task>) -> Result<Model> {
    let none = Default::default();
    Ok(match task {
        Some(Task::QuestionAnswering) => opening.answers(source, &none)?.model().clone(),
        Some(Task::TextClassification) => opening.labels(source, &none)?.model().clone(),
        Some(Task::TokenClassification) => opening.entities(source, &none)?.model().clone(),
        Some(Task::FillMask) => opening.fills(source, &none)?.model().clone(),
        Some(Task::FeatureExtraction) | None => opening.open(source, task)?,
    })
}

/// Opens a model by the path of its folder or by a name. A name such as "qa" is a folder in one of those that
/// the environment variable MOBILEBERT_MODELS lists, separated by colons (semicolons on Windows), or a model
/// in the local cache of the Hugging Face hub, such as "org/name". Nothing is downloaded.
///
/// `options` and `error` may be NULL. Errors: "unknown_model", "missing_file", "config", "tensor" and others
/// of the model's files; "wrong_task"; "option"; "null_argument" if `model` is NULL. Returns NULL if it
/// fails. The caller frees the model with `mobilebert_model_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_open(
    model: *const c_char,
    options: *const MobilebertOpenOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertModel>> {
    run(error, || {
        let name = memory::name_bytes(model).ok_or_else(|| memory::null("model"))?;
        MobilebertModel::open(source(name)?, options)
    })
}

/// Finds the source that a name or path means. A path need not be UTF-8 where the system does not ask for it.
fn source(name: &[u8]) -> Result<Source> {
    match mobilebert_bindings::from_utf8("model", name) {
        Ok(name) => find(name),
        #[cfg(unix)]
        Err(_) => {
            use std::os::unix::ffi::OsStrExt as _;
            Ok(Source::Folder(std::ffi::OsStr::from_bytes(name).into()))
        }
        #[cfg(not(unix))]
        Err(failure) => Err(failure),
    }
}

/// Returns the task of a model, such as "question-answering". It is NULL if the model has a head that no
/// function here uses, or if `model` is NULL. The string belongs to the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_task(model: Option<&MobilebertModel>) -> *const c_char {
    model.and_then(|model| model.task.as_ref()).map_or(ptr::null(), |task| task.as_ptr())
}

/// Returns the precision that a model computes in: "int8", "bf16" or "f32". It is NULL if `model` is NULL.
/// The string belongs to the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_precision(model: Option<&MobilebertModel>) -> *const c_char {
    model.map_or(ptr::null(), |model| model.precision.as_ptr())
}

/// Returns the name of the instruction set that a model computes with, such as "avx2". It is NULL if `model`
/// is NULL. The string belongs to the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_kernel(model: Option<&MobilebertModel>) -> *const c_char {
    model.map_or(ptr::null(), |model| model.kernel.as_ptr())
}

/// Returns the number of threads of a pass, or 0 if `model` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_threads(model: Option<&MobilebertModel>) -> usize {
    quietly(|| model.map_or(0, |model| model.model.engine().threads()))
}

/// Returns the length of the longest sequence in tokens, or 0 if `model` is NULL. Longer texts are read in
/// overlapping windows or cut, as each task says.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_max_length(model: Option<&MobilebertModel>) -> usize {
    model.map_or(0, |model| model.model.max_len())
}

/// Returns the number of labels of a model, or 0 if `model` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_label_count(model: Option<&MobilebertModel>) -> usize {
    model.map_or(0, |model| model.labels.len())
}

/// Returns a label of a model, in the order of its configuration. It is NULL if there is none of this index,
/// or if `model` is NULL. The string belongs to the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_label(model: Option<&MobilebertModel>, index: usize) -> *const c_char {
    model.and_then(|model| model.labels.get(index)).map_or(ptr::null(), |label| label.as_ptr())
}

/// Frees a model. No other thread may use it then or later. Results that it gave stay valid. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_model_free(model: Option<Box<MobilebertModel>>) {
    quietly(|| drop(model));
}
