//! Sources of models: a folder, a name that is built in, a hub id, or the program's own memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::files;
use crate::format::{Bytes, Checkpoint, sha256};
use crate::text::{Tokenizer, TokenizerFiles};

/// The place to find a model. Every function that opens a model takes an `impl Into<Source>`, so a string, a
/// path and files in memory can be passed as they are.
///
/// ```no_run
/// use mobilebert::{MemoryFiles, QuestionAnswering};
///
/// # fn read(_: &str) -> Vec<u8> { Vec::new() }
/// QuestionAnswering::open("qa")?; // a built-in name, the path of a folder, or a hub id
/// QuestionAnswering::open(std::path::Path::new("models/qa"))?;
/// let files = MemoryFiles::new("my model")
///     .file("config.json", read("config.json"))
///     .file("vocab.txt", read("vocab.txt"))
///     .file("model.safetensors", read("model.safetensors"));
/// QuestionAnswering::open(files)?;
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// A built-in name, the path of a folder, or a hub id; see [`ModelFiles::resolve`].
    Name(String),
    /// A folder in Hugging Face's layout. Its path need not be Unicode, and is never taken for a name.
    Folder(PathBuf),
    /// Files in memory, or in ranges of open files.
    Memory(MemoryFiles),
}

impl Source {
    /// Returns the name of a synthetic model, if this is a name that begins with `synthetic:`.
    pub(crate) fn synthetic(&self) -> Option<&str> {
        match self {
            Source::Name(name) => name.strip_prefix("synthetic:"),
            _ => None,
        }
    }
}

impl From<&str> for Source {
    fn from(name: &str) -> Self {
        Source::Name(name.to_owned())
    }
}

impl From<String> for Source {
    fn from(name: String) -> Self {
        Source::Name(name)
    }
}

impl From<&String> for Source {
    fn from(name: &String) -> Self {
        Source::Name(name.clone())
    }
}

impl From<&Path> for Source {
    fn from(folder: &Path) -> Self {
        Source::Folder(folder.to_owned())
    }
}

impl From<&PathBuf> for Source {
    fn from(folder: &PathBuf) -> Self {
        Source::Folder(folder.clone())
    }
}

impl From<PathBuf> for Source {
    fn from(folder: PathBuf) -> Self {
        Source::Folder(folder)
    }
}

impl From<MemoryFiles> for Source {
    fn from(files: MemoryFiles) -> Self {
        Source::Memory(files)
    }
}

impl From<ModelFiles> for Source {
    fn from(files: ModelFiles) -> Self {
        match files {
            ModelFiles::Folder(folder) => Source::Folder(folder),
            ModelFiles::Memory(files) => Source::Memory(files),
        }
    }
}

impl From<&ModelFiles> for Source {
    fn from(files: &ModelFiles) -> Self {
        files.clone().into()
    }
}

/// The files of a model that is not in a folder, under the names that they would have in one: `config.json`,
/// `vocab.txt` or `tokenizer.json`, `model.safetensors`, and any others of Hugging Face's layout.
///
/// The content of each file is a [`Bytes`]: owned, shared by an `Arc`, compiled in, or mapped from a range of
/// an open file ([`Bytes::map_range`]). Clones share it. An engine packs its weights into a form of its own,
/// so nothing holds the bytes once the model is open and these files are dropped.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    label: String,
    files: BTreeMap<String, Arc<Bytes>>,
}

impl MemoryFiles {
    /// Makes an empty set of files. Error messages call the model by `label`.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), files: BTreeMap::new() }
    }

    /// Adds a file. It replaces an earlier one of the same name.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.files.insert(name.into(), Arc::new(bytes.into()));
        self
    }

    /// Returns the content of a file, or `None` if there is none of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|bytes| &***bytes)
    }
}

/// The files of one model. A [`Source`] resolves to them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModelFiles {
    /// A folder in Hugging Face's layout.
    Folder(PathBuf),
    /// Files that are not in a folder, with their names and contents.
    Memory(MemoryFiles),
}

/// The names that [`ModelFiles::resolve`] knows without a path.
pub const BUILT_IN: [&str; 4] = ["qa", "sentiment", "ner", "embed"];

/// Compiles files of a folder of `models` into the program, as pairs of names and contents.
#[allow(unused_macros, reason = "a program may be built without any of the models inside it")]
macro_rules! files {
    ($folder:literal, $($name:literal),+) => {
        &[$(($name, include_bytes!(concat!("../models/", $folder, "/", $name)))),+]
    };
}

/// The names and contents of a model's files.
type Files = &'static [(&'static str, &'static [u8])];

/// The models inside the program.
static EMBEDDED: &[(&str, Files)] = &[
    #[cfg(feature = "embedded-qa")]
    ("qa", files!("qa", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")),
    #[cfg(feature = "embedded-sentiment")]
    (
        "sentiment",
        files!("sentiment", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"),
    ),
    #[cfg(feature = "embedded-ner")]
    ("ner", files!("ner", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")),
    #[cfg(feature = "embedded-embed")]
    (
        "embed",
        files!(
            "embed",
            "config.json",
            "model.safetensors",
            "tokenizer_config.json",
            "vocab.txt",
            "modules.json",
            "sentence_bert_config.json",
            "1_Pooling/config.json"
        ),
    ),
];

impl ModelFiles {
    /// Finds a model. A name is looked up in this order: as a built-in name (see [`BUILT_IN`]); as the path
    /// of a folder; and as a hub id, such as `org/name` or `org/name@revision`, in the local Hugging Face
    /// cache or, with the feature `hub`, on the network. A path always means the folder at that path.
    ///
    /// A built-in name means the same model wherever a program runs. If the working directory has a model
    /// folder of that name, the name alone is an error: the folder is `./qa`, and the built-in model is
    /// `built-in:qa`, or `models/qa` in a checkout.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`] says what was tried and how to place files by hand.
    pub fn resolve(source: impl Into<Source>) -> Result<Self> {
        match source.into() {
            Source::Name(name) if name.strip_prefix("built-in:").is_some_and(|n| BUILT_IN.contains(&n)) => {
                built_in(&name["built-in:".len()..])
            }
            Source::Name(name) if BUILT_IN.contains(&name.as_str()) => {
                if Path::new(&name).join("config.json").symlink_metadata().is_err() {
                    return built_in(&name);
                }
                Err(ErrorKind::UnknownModel {
                    reason: "it is both a built-in model and a model folder in the working directory"
                        .to_owned(),
                    hint: format!(
                        "pass `./{name}` for the folder, and `built-in:{name}` or the path of the checkout's \
                         `models/{name}` for the built-in model"
                    ),
                    source_name: name,
                }
                .into())
            }
            Source::Name(name) if Path::new(&name).is_dir() => Ok(ModelFiles::Folder(name.into())),
            Source::Name(name) if Path::new(&name).is_file() => Err(is_a_file(Path::new(&name))),
            Source::Name(name) => crate::hub::resolve(&name).map(ModelFiles::Folder),
            Source::Folder(folder) if folder.is_dir() => Ok(ModelFiles::Folder(folder)),
            Source::Folder(file) if file.is_file() => Err(is_a_file(&file)),
            Source::Folder(folder) => Err(ErrorKind::UnknownModel {
                source_name: folder.display().to_string(),
                reason: "there is no folder at this path".to_owned(),
                hint: "pass the path of a model folder; names and hub ids are strings and not paths"
                    .to_owned(),
            }
            .into()),
            Source::Memory(files) => Ok(ModelFiles::Memory(files)),
        }
    }

    /// Returns the name of the model in messages, which is its folder or the label of the files in memory.
    pub fn label(&self) -> String {
        match self {
            ModelFiles::Folder(folder) => folder.display().to_string(),
            ModelFiles::Memory(files) => files.label.clone(),
        }
    }

    /// Reads one file that is not one of the weights. The result is `None` if the model does not have it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it exists but cannot be read, is not a regular file (a device could give bytes
    /// without end, a pipe none at all), or is larger than [`crate::files::read_small`] allows.
    pub fn read(&self, name: &str) -> Result<Option<Cow<'_, [u8]>>> {
        match self {
            ModelFiles::Folder(folder) => Ok(files::read_small(&folder.join(name))?.map(Cow::Owned)),
            ModelFiles::Memory(files) => Ok(files.get(name).map(Cow::Borrowed)),
        }
    }

    /// Reads the text of `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] if there is none, [`ErrorKind::Format`] if it is not UTF-8.
    pub fn config_json(&self) -> Result<String> {
        const FILE: &str = "config.json";
        let Some(bytes) = self.read(FILE)? else {
            return Err(ErrorKind::MissingFile {
                folder: self.label().into(),
                expected: vec![FILE.to_owned()],
                hint: "a model folder holds config.json, vocab.txt and model.safetensors, as Hugging Face's \
                       `save_pretrained` writes them"
                    .to_owned(),
            }
            .into());
        };
        String::from_utf8(bytes.into_owned()).map_err(|e| {
            let offset = e.utf8_error().valid_up_to();
            let found = format!("byte 0x{:02x}", e.as_bytes()[offset]);
            ErrorKind::Format { file: FILE.into(), offset: offset as u64, expected: "UTF-8".into(), found }
                .into()
        })
    }

    /// Loads the tokenizer.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::from_files`], and [`ErrorKind::Io`] if a file exists but cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_files(&TokenizerFiles::collect(self.label(), |name| self.read(name))?)
    }

    /// Opens the weights.
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] if there are none, [`ErrorKind::Format`] if a file violates its format.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        match self {
            ModelFiles::Folder(folder) => Checkpoint::open_folder(folder),
            ModelFiles::Memory(MemoryFiles { label, files }) => {
                let shared = |bytes: &Arc<Bytes>| Bytes::Shared(Arc::clone(bytes) as _);
                Checkpoint::open_files(Path::new(label), |name| Ok(files.get(name).map(shared)))
            }
        }
    }

    /// Returns the SHA-256 of the weight files, one after another, in hexadecimal. It tells which weights a
    /// measurement was made with.
    ///
    /// # Errors
    /// The errors of [`ModelFiles::checkpoint`].
    pub fn weights_sha256(&self) -> Result<String> {
        Ok(sha256(self.checkpoint()?.files().map(|(_, bytes)| bytes)))
    }
}

/// Makes the error for a path that names a file, such as `model.safetensors`, instead of its folder.
fn is_a_file(file: &Path) -> Error {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ErrorKind::UnknownModel {
        source_name: file.display().to_string(),
        reason: "this is a file, and a model is a folder of files".to_owned(),
        hint: format!("pass the folder that holds it with config.json and vocab.txt: {}", folder.display()),
    }
    .into()
}

/// Finds a built-in model inside the program, or else in the checkout that the program was built from.
fn built_in(name: &str) -> Result<ModelFiles> {
    let Some((_, files)) = EMBEDDED.iter().find(|(embedded, _)| *embedded == name) else {
        return in_checkout(CHECKOUT.map(Path::new), name);
    };
    let empty = MemoryFiles::new(format!("built-in model {name}"));
    Ok(ModelFiles::Memory(files.iter().fold(empty, |all, (name, bytes)| all.file(*name, *bytes))))
}

/// The checkout that the program was built from. A program that is shipped does not know it, because this is
/// a path of the machine that built it.
const CHECKOUT: Option<&str> =
    if cfg!(feature = "checkout") { Some(env!("CARGO_MANIFEST_DIR")) } else { None };

/// Finds a built-in model in a checkout. The error does not name the checkout, which is of no use on another
/// machine.
fn in_checkout(checkout: Option<&Path>, name: &str) -> Result<ModelFiles> {
    let folder = checkout.map(|checkout| checkout.join("models").join(name));
    if let Some(folder) = folder.filter(|folder| folder.is_dir()) {
        return Ok(ModelFiles::Folder(folder));
    }
    Err(ErrorKind::UnknownModel {
        source_name: name.to_owned(),
        reason: "this program was built without this built-in model (a registry's package does not hold \
                 it), and knows no checkout on this machine that has it"
            .to_owned(),
        hint: format!(
            "copy the folder `models/{name}` of the project's repository and pass its path, or build from a \
             checkout with the feature `embedded-models` (the models inside) or `checkout` (their path)"
        ),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_checkout_is_not_named_but_how_to_get_a_model_is() {
        for checkout in [None, Some(Path::new("/nowhere/builder/checkout"))] {
            for name in BUILT_IN {
                let error = in_checkout(checkout, name).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::UnknownModel { .. }), "{error:?}");
                let message = error.to_string();
                assert!(!message.contains("builder"), "{message}");
                for word in [name, &format!("`models/{name}`"), "embedded-models"] {
                    assert!(message.contains(word), "{word} is not in: {message}");
                }
            }
        }
    }
}
