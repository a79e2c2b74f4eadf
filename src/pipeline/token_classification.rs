//! Labels for the words of a text: named entities, parts of speech.

use std::ops::Range;
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize};

use super::job::{Arrivals, Job};
use super::model::{Model, ModelOptions};
use super::pass::Sequence;
use super::runner::prepare_all;
use super::scores::{softmax, top_k};
use super::tag_scheme::TagScheme;
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::text::{Encoding, Span, TokenizedText, Tokenizer, WindowOptions};

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

/// A token or word with a score for each label.
struct Part {
    span: Span,
    scores: Vec<f32>,
    label: usize,
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
        let tokens = self.model.tokenize(text, "text")?;
        let count = tokens.windows(&windows)?.len();
        Ok(TagJob {
            model: self.model.clone(),
            options: options.clone(),
            text: text.into(),
            windows,
            scores: vec![(0, Vec::new()); tokens.len()],
            tokens,
            arrivals: Arrivals::new(count),
        })
    }
}

/// The job that finds the entities of one text; see [`TokenClassification::prepare_tag`]. It keeps a score
/// for each token and label.
#[derive(Debug)]
pub struct TagJob {
    model: Model,
    options: TagOptions,
    text: Arc<str>,
    tokens: TokenizedText,
    windows: WindowOptions,
    /// The scores of each token, and the number of neighbours that the model saw on the token's poorer side.
    scores: Vec<(usize, Vec<f32>)>,
    arrivals: Arrivals,
}

impl Job for TagJob {
    type Output = Vec<Entity>;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        let window = self.tokens.windows(&self.windows).ok()?.get(index)?;
        Some(Sequence::new(window.into_encoding()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let width = self.model.config().labels.len();
        let windows = self.tokens.windows(&self.windows).ok();
        let window = |index| windows.as_ref().and_then(|windows| windows.get(index));
        let tokens = window(index).map_or(0, |window| window.encoding().len());
        let scores = &mut self.scores;
        self.arrivals.accept(index, rows, (tokens, width), |index, logits| {
            let Some(window) = window(index) else { return };
            let range = window.tokens();
            for (position, token) in window.positions().zip(range.clone()) {
                // This is the number of neighbours on the poorer side, counted from 1. The first of equal
                // windows wins.
                let context = 1 + (token - range.start).min(range.end - 1 - token);
                let kept = &mut scores[token];
                if context > kept.0 {
                    *kept = (context, softmax(&logits[position * width..(position + 1) * width]));
                }
            }
        })
    }

    fn finish(&mut self) -> Result<Vec<Entity>> {
        self.arrivals.finish()?;
        let part =
            |((_, scores), &span): ((usize, Vec<f32>), &Span)| Part { label: best(&scores), span, scores };
        let scores = std::mem::take(&mut self.scores);
        let parts = scores.into_iter().zip(self.tokens.spans()).map(part).collect();
        Ok(self.entities(parts))
    }
}

impl TagJob {
    fn entities(&self, parts: Vec<Part>) -> Vec<Entity> {
        let entities = match self.options.aggregation_strategy {
            AggregationStrategy::None => parts
                .iter()
                .map(|part| self.entity(self.label(part.label), std::slice::from_ref(part)))
                .collect(),
            AggregationStrategy::Simple => self.join(&parts),
            strategy => self.join(&words(&self.tokens, parts, strategy)),
        };
        entities.into_iter().filter(|e: &Entity| !self.is_ignored(&e.label)).collect()
    }

    /// Joins neighbouring parts of one label as [`TagScheme::groups`] does.
    fn join(&self, parts: &[Part]) -> Vec<Entity> {
        let tags: Vec<&str> = parts.iter().map(|part| self.label(part.label)).collect();
        let scheme = TagScheme::of(&self.model.config().labels);
        let entity = |group: Range<usize>| self.entity(scheme.split(tags[group.start]).1, &parts[group]);
        scheme.groups(&tags).into_iter().map(entity).collect()
    }

    fn entity(&self, label: &str, parts: &[Part]) -> Entity {
        let span = parts.iter().map(|p| p.span).reduce(Span::cover).unwrap_or_default();
        let score = parts.iter().map(|p| p.scores[p.label]).sum::<f32>() / parts.len() as f32;
        let word = self.text[span.range()].to_owned();
        let grouped = self.options.aggregation_strategy != AggregationStrategy::None;
        Entity { label: label.to_owned(), grouped, score, word, start: span.start, end: span.end }
    }

    fn label(&self, index: usize) -> &str {
        &self.model.config().labels[index]
    }

    fn is_ignored(&self, label: &str) -> bool {
        self.options.ignore_labels.iter().any(|ignored| ignored == label)
    }
}

fn best(scores: &[f32]) -> usize {
    top_k(scores, 1).first().copied().unwrap_or(0)
}

/// Joins the parts of each word into one.
fn words(tokens: &TokenizedText, parts: Vec<Part>, strategy: AggregationStrategy) -> Vec<Part> {
    let ids = tokens.word_ids();
    let mut words = Vec::new();
    let mut group: Vec<Part> = Vec::new();
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 && ids[i] != ids[i - 1] {
            words.extend(word(std::mem::take(&mut group), strategy));
        }
        group.push(part);
    }
    words.extend(word(group, strategy));
    words
}

fn word(parts: Vec<Part>, strategy: AggregationStrategy) -> Option<Part> {
    let span = parts.iter().map(|p| p.span).reduce(Span::cover)?;
    let certainty = |part: &Part| part.scores[part.label];
    let scores = match strategy {
        AggregationStrategy::Average => {
            let mean = |label: usize| parts.iter().map(|p| p.scores[label]).sum::<f32>() / parts.len() as f32;
            (0..parts[0].scores.len()).map(mean).collect()
        }
        AggregationStrategy::Max => {
            let most = parts.into_iter().reduce(|a, b| if certainty(&b) > certainty(&a) { b } else { a })?;
            most.scores
        }
        _ => parts.into_iter().next()?.scores,
    };
    Some(Part { label: best(&scores), span, scores })
}
