//! A model as it was found: its configuration, its vocabulary and its weights in any of the formats.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{attached, graph_file, hugging_face, options::ConvertOptions, tensorflow};
use crate::foreign::open_tensorflow;
use crate::writer::RawModel;
use mobilebert::files::{self, json};
use mobilebert::format::Bytes;
use mobilebert::text::TOKENIZER_FILES;
use mobilebert::{Error, ErrorKind, MemoryFiles, ModelFiles, Result};

/// The format that a model comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SourceFormat {
    /// A folder in Hugging Face's layout, or one of its weight files.
    HuggingFace,
    /// A TensorFlow checkpoint.
    TensorFlow,
    /// An ONNX graph.
    Onnx,
    /// A LiteRT graph (formerly TensorFlow Lite).
    LiteRt,
}

impl SourceFormat {
    /// Returns the name as people write it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::HuggingFace => "Hugging Face",
            SourceFormat::TensorFlow => "TensorFlow",
            SourceFormat::Onnx => "ONNX",
            SourceFormat::LiteRt => "LiteRT",
        }
    }
}

/// A model that was recognised but not yet opened.
pub(super) struct Found {
    pub(super) format: SourceFormat,
    /// The model, or the files beside its weight file.
    pub(super) files: ModelFiles,
    /// The weight file; `None` if it is the one of the folder.
    pub(super) file: Option<PathBuf>,
}

impl Found {
    /// Returns the path of the model, if it is on the disk.
    pub(super) fn path(&self) -> Option<&Path> {
        match (&self.file, &self.files) {
            (Some(file), _) => Some(file),
            (None, ModelFiles::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// Reads a file beside the weights, such as `config.json` or the vocabulary.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.files.read(name)?.map(|bytes| bytes.into_owned()))
    }

    fn label(&self) -> String {
        self.file.as_ref().map_or_else(|| self.files.label(), |file| file.display().to_string())
    }

    /// Reads the fields of the configuration from the file that the options name, or else from the first of
    /// `names` that is there.
    fn config(&self, names: &[&str], options: &ConvertOptions) -> Result<Option<Map<String, Value>>> {
        let mut found = None;
        if let Some(path) = &options.config {
            found = Some((path.display().to_string(), given(path)?));
        }
        for name in names {
            if found.is_none() {
                found = self.read(name)?.map(|bytes| ((*name).to_owned(), bytes));
            }
        }
        let Some((label, bytes)) = found else { return Ok(None) };
        json::parse(&label, &bytes).map(Some)
    }

    /// Opens the model.
    pub(super) fn open(&self, options: &ConvertOptions, notes: &mut Vec<String>) -> Result<RawModel> {
        let config = |names: &[&str]| self.config(names, options);
        let required = |names: &[&str]| config(names)?.ok_or_else(|| self.missing(names[0]));
        match (self.format, &self.file) {
            (SourceFormat::HuggingFace, None) => {
                hugging_face::open(self.files.checkpoint()?, required(&["config.json"])?, notes)
            }
            (SourceFormat::HuggingFace, Some(file)) => {
                hugging_face::open(hugging_face::weight_file(file)?, required(&["config.json"])?, notes)
            }
            (SourceFormat::TensorFlow, Some(index)) => {
                let checkpoint = open_tensorflow(index)?;
                tensorflow::refuse_objects(&checkpoint, &self.label())?;
                tensorflow::open(checkpoint, required(&["bert_config.json", "config.json"])?, notes)
            }
            (SourceFormat::Onnx, Some(file)) => {
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let flow = graph_file::onnx(&self.label(), Bytes::map(file)?, Some(folder))?;
                graph_file::open(flow, config(&["config.json"])?, None, notes)
            }
            (SourceFormat::LiteRt, Some(file)) => {
                let flow = graph_file::tflite(&self.label(), Bytes::map(file)?)?;
                let config = config(&["config.json"])?;
                let labels = if config.is_none() { attached::labels(file, notes)? } else { None };
                graph_file::open(flow, config, labels, notes)
            }
            (_, None) => Err(self.missing("a weight file")),
        }
    }

    fn missing(&self, name: &str) -> Error {
        ErrorKind::MissingFile {
            folder: self.label().into(),
            expected: vec![name.to_owned()],
            hint: "place the model's configuration beside the weights, or pass --config FILE".to_owned(),
        }
        .into()
    }
}

/// Reads a file that the options name.
fn given(path: &Path) -> Result<Vec<u8>> {
    let absent = || Error::io(path, io::Error::from(io::ErrorKind::NotFound));
    files::read_small(path)?.ok_or_else(absent)
}

/// Collects the tokenizer's files beside the weights, with the vocabulary that the options name.
pub(super) fn tokenizer_files(
    found: &Found,
    options: &ConvertOptions,
    notes: &mut Vec<String>,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let [vocabulary_file, fast, settings, ..] = TOKENIZER_FILES;
    let mut files = Vec::new();
    for name in TOKENIZER_FILES {
        let bytes = match &options.vocab {
            Some(path) if name == vocabulary_file => Some(given(path)?),
            // This file would win over the vocabulary that was asked for.
            Some(_) if name == fast => None,
            _ => found.read(name)?,
        };
        files.extend(bytes.map(|bytes| (name, bytes)));
    }
    let is_there = files.iter().any(|(name, _)| *name == vocabulary_file || *name == fast);
    if let (false, SourceFormat::LiteRt, Some(file)) = (is_there, found.format, &found.file)
        && let Some(bytes) = attached::vocabulary(file)?
    {
        notes.push(format!("the vocabulary is {} in the file", attached::VOCABULARY));
        files.push((vocabulary_file, bytes));
    }
    let vocabulary = files.iter().find(|(name, _)| *name == vocabulary_file).map(|(_, bytes)| bytes);
    let has = |wanted: &str| files.iter().any(|(name, _)| *name == wanted);
    if vocabulary.is_none() && !has(fast) {
        return Err(ErrorKind::MissingFile {
            folder: found.label().into(),
            expected: vec![vocabulary_file.to_owned(), fast.to_owned()],
            hint: "place the vocabulary that the model was trained with beside the weights, or pass --vocab FILE"
                .to_owned(),
        }
        .into());
    }
    let cased = vocabulary.is_some_and(|vocabulary| is_cased(vocabulary));
    if cased && !has(settings) && !has(fast) {
        notes.push(
            "the vocabulary has words in capitals, so texts keep their case (do_lower_case: false)".into(),
        );
        files.push((settings, b"{\n  \"do_lower_case\": false\n}\n".to_vec()));
    }
    Ok(files)
}

/// Checks that the files are a tokenizer whose vocabulary the model has embeddings for, so that the written
/// folder can be opened.
pub(super) fn check_tokenizer(
    found: &Found,
    options: &ConvertOptions,
    files: &[(&'static str, Vec<u8>)],
    vocab_size: usize,
) -> Result<()> {
    let given = options.vocab.as_ref().map(|path| path.display().to_string());
    let label = given.unwrap_or_else(|| found.label());
    let add = |all: MemoryFiles, (name, bytes): &(&'static str, Vec<u8>)| all.file(*name, bytes.clone());
    let files = files.iter().fold(MemoryFiles::new(label), add);
    ModelFiles::Memory(files).tokenizer()?.check_vocab_size(vocab_size)
}

/// Returns true if a vocabulary has words in capitals. `[CLS]`, `[unused1]` and the like are not words.
fn is_cased(vocabulary: &[u8]) -> bool {
    /// Fewer words than this might be oddities of an uncased vocabulary.
    const SOME: usize = 100;
    let lines = vocabulary.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"["));
    let capitals = lines.clone().filter(|line| line.iter().any(u8::is_ascii_uppercase)).count();
    capitals > SOME || capitals * 4 > lines.count()
}
