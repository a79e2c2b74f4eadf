//! Models by name: found once, hashed once, loaded when the first text arrives.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mobilebert::format::sha256;
use mobilebert::pipeline::{check_head, sentence_files};
use mobilebert::{
    AnswerOptions, ClassifyOptions, EmbedOptions, Embedder, EngineOptions, ErrorKind, FillMask, FillOptions,
    Model, ModelConfig, ModelFiles, ModelOptions, QuestionAnswering, Source, TagOptions, TextClassification,
    TokenClassification,
};
use serde::{Deserialize, Serialize};

use crate::call::{Function, MOST_DIMENSIONS, Options};
use crate::error::{Error, Result};

/// The files of a folder, beside the weights and those of sentence-transformers, that results depend on.
const FILES: [&str; 6] = [
    "config.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// A model's name in the query, and the hash of its content when the query was planned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    name: String,
    sha: String,
}

impl ModelRef {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the SHA-256 of the weights, the configuration, the tokenizer's files and those that say how
    /// vectors are made, in hexadecimal.
    pub fn sha(&self) -> &str {
        &self.sha
    }
}

/// Writes the name and the beginning of the hash.
impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: usize = 12;
        write!(f, "{}@{}", self.name, self.sha.get(..DIGITS).unwrap_or(&self.sha))
    }
}

/// The models of a process. Clones share them, so each is in memory once.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// What names mean that the user has given.
    named: Mutex<HashMap<String, Source>>,
    found: Mutex<HashMap<String, Arc<Found>>>,
}

/// A model whose files were found.
#[derive(Debug)]
struct Found {
    files: ModelFiles,
    sha: String,
    config: ModelConfig,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// A model in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    model: Model,
    embedder: OnceLock<Embedder>,
}

/// A panic elsewhere does not make what is in the maps wrong: they change by single insertions.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Models {
    /// Makes a set without names of its own. Built-in names, folders and hub ids are found without.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a model a name for queries. It hides a built-in model of that name.
    pub fn add(&self, name: impl Into<String>, source: impl Into<Source>) {
        let name = name.into();
        lock(&self.0.found).remove(&name);
        lock(&self.0.named).insert(name, source.into());
    }

    /// Returns the reference to a model that goes with a function.
    pub(crate) fn find(&self, name: &str, function: Function) -> Result<ModelRef> {
        let found = self.found(name)?;
        let (head, task) = function.head();
        check_head(&found.config, head, task).map_err(|source| failed(name, source))?;
        Ok(ModelRef { name: name.to_owned(), sha: found.sha.clone() })
    }

    /// Checks that the model of this name has the content that a query was planned with.
    ///
    /// # Errors
    /// [`Error::OtherModel`] if it has not, [`Error::Model`] if there is none of that name.
    pub fn check(&self, model: &ModelRef) -> Result<()> {
        self.checked(model).map(drop)
    }

    fn checked(&self, model: &ModelRef) -> Result<Arc<Found>> {
        let found = self.found(&model.name)?;
        match found.sha == model.sha {
            true => Ok(found),
            false => Err(Error::OtherModel {
                name: model.name.clone(),
                expected: model.sha.clone(),
                found: found.sha.clone(),
            }),
        }
    }

    /// Loads a model, or returns it if it is loaded. Files that were replaced between the planning of the
    /// query and the end of the loading are refused.
    pub(crate) fn open(&self, model: &ModelRef) -> Result<Arc<Loaded>> {
        let found = self.checked(model)?;
        let mut loaded = lock(&found.loaded);
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        let options = ModelOptions::new().engine(EngineOptions::new().on_caller());
        let opened = Model::open(&found.files, options).map_err(|source| failed(&model.name, source))?;
        // The files may have been replaced since they were found.
        let now = content_sha(&found.files).map_err(|source| failed(&model.name, source))?;
        if now != model.sha {
            let (name, expected) = (model.name.clone(), model.sha.clone());
            return Err(Error::OtherModel { name, expected, found: now });
        }
        Ok(Arc::clone(loaded.insert(Arc::new(Loaded { model: opened, embedder: OnceLock::new() }))))
    }

    fn found(&self, name: &str) -> Result<Arc<Found>> {
        if let Some(found) = lock(&self.0.found).get(name) {
            return Ok(Arc::clone(found));
        }
        let source = lock(&self.0.named).get(name).cloned().unwrap_or_else(|| name.into());
        let found = Found::new(source).map_err(|source| failed(name, source))?;
        // Two threads may have looked at once; both have to go on with the same one.
        Ok(Arc::clone(lock(&self.0.found).entry(name.to_owned()).or_insert(Arc::new(found))))
    }
}

fn failed(name: &str, source: mobilebert::Error) -> Error {
    Error::Model { name: name.to_owned(), source }
}

impl Found {
    fn new(source: Source) -> mobilebert::Result<Self> {
        let files = ModelFiles::resolve(source)?;
        let config = ModelConfig::from_json(&files.config_json()?)?;
        let sha = content_sha(&files)?;
        Ok(Self { files, sha, config, loaded: Mutex::new(None) })
    }
}

/// Returns the SHA-256 of the names and contents of all files that results depend on.
fn content_sha(files: &ModelFiles) -> mobilebert::Result<String> {
    let mut parts = vec![files.weights_sha256()?];
    for name in FILES {
        if let Some(bytes) = files.read(name)? {
            parts.push(format!("{name} {}", sha256([&bytes])));
        }
    }
    let read = |name: &str| Ok(files.read(name)?.map(|bytes| bytes.into_owned()));
    let sentence = match sentence_files(&read) {
        Ok(sentence) => sentence,
        // Modules that this library does not run are an error of embeddings only, and of these when the model
        // is loaded.
        Err(error) if matches!(error.kind(), ErrorKind::Json { .. } | ErrorKind::Format { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    for (name, bytes) in sentence {
        parts.push(format!("{name} {}", sha256([&bytes])));
    }
    Ok(sha256([parts.join("\n")]))
}

impl Loaded {
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn classifier(&self) -> mobilebert::Result<TextClassification> {
        TextClassification::from_parts(self.model.clone(), ClassifyOptions::default())
    }

    pub(crate) fn answerer(&self, options: Options) -> mobilebert::Result<QuestionAnswering> {
        let options = AnswerOptions::with(|o| o.handle_impossible_answer = options.allow_no_answer);
        QuestionAnswering::from_parts(self.model.clone(), options)
    }

    pub(crate) fn tagger(&self) -> mobilebert::Result<TokenClassification> {
        TokenClassification::from_parts(self.model.clone(), TagOptions::default())
    }

    pub(crate) fn filler(&self) -> mobilebert::Result<FillMask> {
        FillMask::from_parts(self.model.clone(), FillOptions::default())
    }

    /// Returns the pipeline for vectors, whose engine is made once from a model that has a head.
    pub(crate) fn embedder(&self) -> mobilebert::Result<Embedder> {
        if let Some(embedder) = self.embedder.get() {
            return Ok(embedder.clone());
        }
        let made = Embedder::from_parts(self.model.clone(), EmbedOptions::default())?;
        Ok(self.embedder.get_or_init(|| made).clone())
    }

    /// Returns the number of numbers in a vector. `name` names the model in errors.
    pub(crate) fn dimensions(&self, name: &str) -> Result<i32> {
        let dimensions = self.embedder().map_err(|source| failed(name, source))?.dimensions();
        i32::try_from(dimensions).ok().filter(|n| (1..=MOST_DIMENSIONS).contains(n)).ok_or_else(|| {
            Error::Shape {
                function: Function::Embed,
                expected: format!("vectors of 1 to {MOST_DIMENSIONS} numbers"),
                found: dimensions.to_string(),
            }
        })
    }
}
