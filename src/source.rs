//! Where a model comes from: a folder, a name that is built in, or a hub id.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::format::{Bytes, Checkpoint, sha256};
use crate::text::{Tokenizer, TokenizerFiles};

/// The files of one model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModelFiles {
    /// A folder in Hugging Face's layout.
    Folder(PathBuf),
    /// Files compiled into the program: names and contents.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

/// Names that [`ModelFiles::resolve`] knows without a path.
pub const BUILT_IN: [&str; 2] = ["qa", "sentiment"];

#[cfg(feature = "embedded-models")]
mod embedded {
    macro_rules! model {
        ($name:literal) => {
            &[
                ("config.json", include_bytes!(concat!("../models/", $name, "/config.json"))),
                ("model.safetensors", include_bytes!(concat!("../models/", $name, "/model.safetensors"))),
                (
                    "tokenizer_config.json",
                    include_bytes!(concat!("../models/", $name, "/tokenizer_config.json")),
                ),
                ("vocab.txt", include_bytes!(concat!("../models/", $name, "/vocab.txt"))),
            ]
        };
    }
    pub(super) type Files = &'static [(&'static str, &'static [u8])];
    pub(super) static QA: Files = model!("qa");
    pub(super) static SENTIMENT: Files = model!("sentiment");
}

impl ModelFiles {
    /// Finds a model, in this order: a built-in name (see [`BUILT_IN`]); a folder of that path; a hub id such as
    /// `org/name` or `org/name@revision`, from the local Hugging Face cache or, with the feature `hub`, the network.
    ///
    /// A built-in name means the same model wherever a program runs: a folder `qa` in the working directory is `./qa`.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`] says what was tried and how to place files by hand.
    pub fn resolve(source: &str) -> Result<Self> {
        if BUILT_IN.contains(&source) {
            return built_in(source);
        }
        let path = Path::new(source);
        if path.is_dir() {
            return Ok(ModelFiles::Folder(path.to_owned()));
        }
        crate::hub::resolve(source).map(ModelFiles::Folder)
    }

    /// What to call it in messages.
    pub fn label(&self) -> String {
        match self {
            ModelFiles::Folder(folder) => folder.display().to_string(),
            ModelFiles::Embedded(_) => "built-in model".to_owned(),
        }
    }

    /// One file's bytes; `None` if the model does not have it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it exists but cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            ModelFiles::Folder(folder) => {
                let path = folder.join(name);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(Error::io(path, e)),
                }
            }
            ModelFiles::Embedded(files) => {
                Ok(files.iter().find(|(n, _)| *n == name).map(|&(_, bytes)| Cow::Borrowed(bytes)))
            }
        }
    }

    /// The text of `config.json`.
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

    /// The tokenizer.
    ///
    /// # Errors
    /// Those of [`Tokenizer::from_files`], and [`ErrorKind::Io`] if a file exists but cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_files(&TokenizerFiles::collect(self.label(), |name| self.read(name))?)
    }

    /// The weights.
    ///
    /// # Errors
    /// [`ErrorKind::MissingFile`] if there are none, [`ErrorKind::Format`] if a file violates its format.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        match self {
            ModelFiles::Folder(folder) => Checkpoint::open_folder(folder),
            ModelFiles::Embedded(files) => {
                let mut checkpoint = Checkpoint::default();
                for &(name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
                    checkpoint.add_safetensors(name, Bytes::Static(bytes))?;
                }
                Ok(checkpoint)
            }
        }
    }

    /// SHA-256 of the weight files, one after another, in hexadecimal: what a measurement is of.
    ///
    /// # Errors
    /// As [`ModelFiles::checkpoint`].
    pub fn weights_sha256(&self) -> Result<String> {
        Ok(sha256(self.checkpoint()?.files().map(|(_, bytes)| bytes)))
    }
}

#[cfg(feature = "embedded-models")]
fn built_in(name: &str) -> Result<ModelFiles> {
    Ok(ModelFiles::Embedded(if name == "qa" { embedded::QA } else { embedded::SENTIMENT }))
}

/// Without the models in the program, they are found in the checkout it was built from.
#[cfg(not(feature = "embedded-models"))]
fn built_in(name: &str) -> Result<ModelFiles> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
    if folder.is_dir() {
        return Ok(ModelFiles::Folder(folder));
    }
    Err(ErrorKind::UnknownModel {
        source_name: name.to_owned(),
        reason: format!("{} does not exist", folder.display()),
        hint: "build with `--features embedded-models`, or pass a model folder".to_owned(),
    }
    .into())
}
