//! Labels for the words of a text: named entities, parts of speech.

use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};

use super::model::{Model, ModelOptions};
use super::runner::prepare_all;
use super::tag_job::TagJob;
use super::tag_scheme::TagScheme;
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::text::{Encoding, Tokenizer, WindowOptions};

const TASK: &str = "token classification";

/// The way in which the labels of tokens become entities. The names are Hugging Face's. Neighbours are joined
/// by the marks of the model's [`TagScheme`]; in BIO, the entities are those of Hugging Face's pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AggregationStrategy {
    /// Every token is an entity of its own.
    None,
    /// Neighbouring tokens of one label are joined. A word of several tokens may be cut where they have other
    /// labels, or where each of them has a label that is a whole entity (`B-` after `B-`, `S-` after `S-`).
    #[default]
    Simple,
    /// Neighbours are joined as by `Simple`, but a word has the label of its first token.
    First,
    /// Neighbours are joined as by `Simple`, but a word has the label with the largest mean score over its
    /// tokens.
    Average,
    /// Neighbours are joined as by `Simple`, but a word has the label of its most certain token.
    Max,
}

impl std::str::FromStr for AggregationStrategy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(Self::None),
            "simple" => Ok(Self::Simple),
            "first" => Ok(Self::First),
            "average" => Ok(Self::Average),
            "max" => Ok(Self::Max),
            other => {
                let expected = "`none`, `simple`, `first`, `average` or `max`";
                Err(Error::option("aggregation_strategy", expected, format!("`{other}`")))
            }
        }
    }
}

/// The options for cutting texts and joining labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TagOptions {
    /// The way in which the labels of tokens become entities. Default: [`AggregationStrategy::Simple`].
    pub aggregation_strategy: AggregationStrategy,
    /// The labels that are left out of the results. Default: `O`.
    pub ignore_labels: Vec<String>,
    /// The longest window in tokens. Default: the model's limit.
    pub max_seq_len: Option<usize>,
    /// The number of tokens that neighbouring windows share. A token that several windows hold has the label
    /// from the window that shows most of its surroundings. Default: 128, or half of `max_seq_len` if that is
    /// less.
    pub doc_stride: Option<usize>,
}

impl Default for TagOptions {
    fn default() -> Self {
        Self {
            aggregation_strategy: AggregationStrategy::Simple,
            ignore_labels: vec!["O".to_owned()],
            max_seq_len: None,
            doc_stride: None,
        }
    }
}

impl TagOptions {
    fn windows(&self, model: &Model) -> Result<WindowOptions> {
        let windows = model.windows(self.max_seq_len, usize::MAX, self.doc_stride)?;
        windows.check(Encoding::SPECIAL_SINGLE)?;
        Ok(windows)
    }
}

/// A labelled piece of the text.
///
/// It is serialised as by Hugging Face's pipeline: the label is `entity_group`, or `entity` for a single
/// token.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entity {
    /// The label. It has no mark such as `B-` if tokens were joined.
    pub label: String,
    /// True if the entity stands for joined tokens, and false for one token ([`AggregationStrategy::None`]).
    pub grouped: bool,
    /// The mean score of the parts.
    pub score: f32,
    /// The text `text[start..end]`.
    pub word: String,
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Serialize for Entity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Entity", 5)?;
        fields.serialize_field(if self.grouped { "entity_group" } else { "entity" }, &self.label)?;
        fields.serialize_field("score", &self.score)?;
        fields.serialize_field("word", &self.word)?;
        fields.serialize_field("start", &self.start)?;
        fields.serialize_field("end", &self.end)?;
        fields.end()
    }
}

/// A pipeline that labels the words of texts of any length.
#[derive(Debug, Clone)]
pub struct TokenClassification {
    model: Model,
    options: TagOptions,
}

impl TokenClassification {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::open_with`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_with(source, ModelOptions::new(), TagOptions::default())
    }

    /// Opens a model. Calls that bring no options of their own use `options`.
    ///
    /// # Errors
    /// The errors of [`Model::open`]; [`crate::ErrorKind::WrongTask`] if the model has another head;
    /// [`crate::ErrorKind::Option`] for a value out of range.
    pub fn open_with(
        source: impl Into<Source>,
        model: impl Into<ModelOptions>,
        options: TagOptions,
    ) -> Result<Self> {
        Self::from_parts(Model::open_for(source, Head::TokenClassification, TASK, model)?, options)
    }

    /// Makes a pipeline over a model that is already loaded. This costs nothing, because clones of a
    /// [`Model`] share its weights.
    ///
    /// # Errors
    /// [`crate::ErrorKind::WrongTask`] if the model has another head; [`crate::ErrorKind::Option`] for a
    /// value out of range.
    pub fn from_parts(model: Model, options: TagOptions) -> Result<Self> {
        model.check_loaded(Head::TokenClassification, TASK)?;
        options.windows(&model)?;
        Ok(Self { model, options })
    }

    /// Returns the model below, which other pipelines may share.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the scheme of the model's labels, which says how neighbours are joined.
    pub fn scheme(&self) -> TagScheme {
        TagScheme::of(&self.model.config().labels)
    }

    /// Returns the options of calls that bring none.
    pub fn options(&self) -> &TagOptions {
        &self.options
    }

    /// Returns the engine below.
    pub fn engine(&self) -> &Engine {
        self.model.engine()
    }

    /// Returns the tokenizer below.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.model.tokenizer()
    }

    /// Finds the entities of a text, in the text's order. A long text is read in windows, and none of it is
    /// left out.
    ///
    /// # Errors
    /// [`crate::ErrorKind::EmptyText`] for a text without words.
    pub fn tag(&self, text: &str) -> Result<Vec<Entity>> {
        self.tag_with(text, &self.options)
    }

    /// Does what [`TokenClassification::tag`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::tag`], and [`crate::ErrorKind::Option`] for a value out of range.
    pub fn tag_with(&self, text: &str, options: &TagOptions) -> Result<Vec<Entity>> {
        self.model.run_one(self.prepare_tag(text, options)?, &mut super::RunControl::default())
    }

    /// Finds the entities of each text. Texts share forward passes, and no result depends on the other texts.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::tag`], for the first text that fails. [`Model::run`] gives each
    /// text a result of its own.
    pub fn tag_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<Entity>>> {
        self.tag_batch_with(texts, &self.options)
    }

    /// Does what [`TokenClassification::tag_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::tag_with`], for the first text that fails.
    pub fn tag_batch_with<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &TagOptions,
    ) -> Result<Vec<Vec<Entity>>> {
        const UNIT: &str = "text";
        let prepare = |text: &T| self.prepare_tag(text.as_ref(), options);
        self.model.run_all(prepare_all(texts, UNIT, prepare)?, UNIT)
    }

    /// Makes a job that tags a text.
    ///
    /// # Errors
    /// The errors of [`TokenClassification::tag_with`].
    pub fn prepare_tag(&self, text: &str, options: &TagOptions) -> Result<TagJob> {
        let windows = options.windows(&self.model)?;
        let text: Arc<str> = text.into();
        let tokens = self.model.read(&text, "text")?;
        TagJob::new(self.model.clone(), options, text, tokens, windows)
    }
}
