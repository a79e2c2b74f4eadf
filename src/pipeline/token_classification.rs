//! Labels for the words of a text: named entities, parts of speech.

use serde::Serialize;
use serde::ser::SerializeStruct as _;

use super::runner::Runner;
use super::scores::{softmax, top_k};
use crate::config::Head;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Context as _, Error, Result};
use crate::text::{Encoding, Span, TokenizedText, Tokenizer, Window, WindowOptions};

/// How the labels of tokens become entities; the names are Hugging Face's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AggregationStrategy {
    /// Every token on its own.
    None,
    /// Neighbouring tokens of one label are joined.
    #[default]
    Simple,
    /// As `Simple`, but a word has the label of its first token.
    First,
    /// As `Simple`, but a word has the label with the largest mean score over its tokens.
    Average,
    /// As `Simple`, but a word has the label of its most certain token.
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

/// How texts are cut and labels joined.
#[derive(Debug, Clone)]
#[must_use]
pub struct TokenClassificationOptions {
    engine: EngineOptions,
    aggregation_strategy: AggregationStrategy,
    ignore_labels: Vec<String>,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
}

impl Default for TokenClassificationOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::new(),
            aggregation_strategy: AggregationStrategy::Simple,
            ignore_labels: vec!["O".to_owned()],
            max_seq_len: None,
            doc_stride: None,
        }
    }
}

impl TokenClassificationOptions {
    /// Entities by simple aggregation; the label `O` is left out.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// How the labels of tokens become entities.
    pub fn aggregation_strategy(mut self, strategy: AggregationStrategy) -> Self {
        self.aggregation_strategy = strategy;
        self
    }

    /// Leaves these labels out of the results. Default: `O`.
    pub fn ignore_labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.ignore_labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Longest window in tokens. Default: the model's limit.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// Tokens that neighbouring windows share. A token that several windows hold has the label from the one that shows
    /// most of its surroundings.
    pub fn doc_stride(mut self, tokens: usize) -> Self {
        self.doc_stride = Some(tokens);
        self
    }

    /// Opens a model; see [`crate::ModelFiles::resolve`] for `source`.
    ///
    /// # Errors
    /// Those of [`Engine::open`]; [`crate::ErrorKind::WrongTask`] if the model has another head; [`crate::ErrorKind::Option`].
    pub fn open(self, source: &str) -> Result<TokenClassification> {
        let task = "token classification";
        let runner = Runner::open(source, Head::TokenClassification, task, |t| t, self.engine.clone())?;
        let max_seq_len = runner.max_seq_len(self.max_seq_len, usize::MAX)?;
        let mut windows = WindowOptions::new(max_seq_len);
        if let Some(tokens) = self.doc_stride {
            windows = windows.doc_stride(tokens);
        }
        windows.check(Encoding::SPECIAL_SINGLE)?;
        Ok(TokenClassification { runner, windows, options: self })
    }
}

/// A labelled piece of the text.
///
/// Serialises as Hugging Face's pipeline does: the label is `entity_group`, or `entity` for a single token.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entity {
    /// The label: without its `B-` or `I-` if tokens were joined.
    pub label: String,
    /// Whether it stands for joined tokens, or for one token ([`AggregationStrategy::None`]).
    pub grouped: bool,
    /// Mean score of the parts.
    pub score: f32,
    /// `text[start..end]`.
    pub word: String,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
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

/// Labels the words of texts of any length.
#[derive(Debug)]
pub struct TokenClassification {
    runner: Runner,
    windows: WindowOptions,
    options: TokenClassificationOptions,
}

/// A token or word with a score for each label.
struct Part {
    span: Span,
    scores: Vec<f32>,
    label: usize,
}

/// A window and the text that it belongs to.
struct OfText {
    text: usize,
    window: Window,
}

impl AsRef<Encoding> for OfText {
    fn as_ref(&self) -> &Encoding {
        self.window.encoding()
    }
}

impl TokenClassification {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// As [`TokenClassificationOptions::open`].
    pub fn open(source: &str) -> Result<Self> {
        TokenClassificationOptions::new().open(source)
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.runner.engine
    }

    /// Replaces the engine by one that runs the same model otherwise, such as in another precision.
    pub fn set_engine(&mut self, engine: Engine) {
        self.runner.engine = engine;
    }

    /// The tokenizer below.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.runner.tokenizer
    }

    /// Entities of a text, in its order. A long text is read in windows; none of it is left out.
    ///
    /// # Errors
    /// [`crate::ErrorKind::EmptyText`] for a text without words.
    pub fn tag(&self, text: &str) -> Result<Vec<Entity>> {
        let tokens = [self.runner.tokenize(text, "text")?];
        let parts = self.parts(&tokens)?.pop().unwrap_or_default();
        Ok(self.entities(text, &tokens[0], parts))
    }

    fn entities(&self, text: &str, tokens: &TokenizedText, parts: Vec<Part>) -> Vec<Entity> {
        let entities = match self.options.aggregation_strategy {
            AggregationStrategy::None => parts
                .iter()
                .map(|part| self.entity(text, self.label(part.label), std::slice::from_ref(part)))
                .collect(),
            AggregationStrategy::Simple => self.join(text, &parts),
            strategy => self.join(text, &words(tokens, parts, strategy)),
        };
        entities.into_iter().filter(|e: &Entity| !self.is_ignored(&e.label)).collect()
    }

    /// Entities of each text. Texts share forward passes; no result depends on the others.
    ///
    /// # Errors
    /// As [`TokenClassification::tag`], for the first text that fails.
    pub fn tag_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<Entity>>> {
        let tokenize = |(i, text): (usize, &T)| {
            self.runner.tokenize(text.as_ref(), "text").context(|| format!("text {}", i + 1))
        };
        let tokens = texts.iter().enumerate().map(tokenize).collect::<Result<Vec<_>>>()?;
        let parts = self.parts(&tokens)?.into_iter();
        let each = parts.zip(texts).zip(&tokens);
        Ok(each.map(|((parts, text), tokens)| self.entities(text.as_ref(), tokens, parts)).collect())
    }

    /// The tokens of each text with their scores.
    fn parts(&self, texts: &[TokenizedText]) -> Result<Vec<Vec<Part>>> {
        let windows = texts.iter().map(|text| text.windows(&self.windows)).collect::<Result<Vec<_>>>()?;
        let windows = windows.into_iter().enumerate();
        let windows = windows.flat_map(|(text, windows)| windows.map(move |window| OfText { text, window }));
        let mut scores: Vec<Vec<(usize, Vec<f32>)>> =
            texts.iter().map(|text| vec![(0, Vec::new()); text.len()]).collect();
        self.runner.run(windows, |OfText { text, window }, logits, width| {
            let range = window.tokens();
            for (position, token) in window.positions().zip(range.clone()) {
                // Neighbours on the poorer side, counted from 1; the first of equal windows wins.
                let context = 1 + (token - range.start).min(range.end - 1 - token);
                let kept = &mut scores[text][token];
                if context > kept.0 {
                    *kept = (context, softmax(&logits[position * width..(position + 1) * width]));
                }
            }
        })?;
        let parts = scores.into_iter().zip(texts).map(|(scores, text)| {
            let part = |((_, scores), &span): ((usize, Vec<f32>), &Span)| Part {
                label: best(&scores),
                span,
                scores,
            };
            scores.into_iter().zip(text.spans()).map(part).collect()
        });
        Ok(parts.collect())
    }

    /// Joins neighbouring parts of one label; `B-` begins a new entity, as Hugging Face's pipeline does.
    fn join(&self, text: &str, parts: &[Part]) -> Vec<Entity> {
        let mut entities = Vec::new();
        let mut start = 0;
        for i in 1..=parts.len() {
            let begins = |part: &Part| split_tag(self.label(part.label));
            let continues = i < parts.len() && {
                let (begin, label) = begins(&parts[i]);
                !begin && label == begins(&parts[i - 1]).1
            };
            if !continues {
                let group = &parts[start..i];
                entities.push(self.entity(text, begins(&group[0]).1, group));
                start = i;
            }
        }
        entities
    }

    fn entity(&self, text: &str, label: &str, parts: &[Part]) -> Entity {
        let span = parts.iter().map(|p| p.span).reduce(Span::cover).unwrap_or_default();
        let score = parts.iter().map(|p| p.scores[p.label]).sum::<f32>() / parts.len() as f32;
        let word = text[span.range()].to_owned();
        let grouped = self.options.aggregation_strategy != AggregationStrategy::None;
        Entity { label: label.to_owned(), grouped, score, word, start: span.start, end: span.end }
    }

    fn label(&self, index: usize) -> &str {
        &self.runner.engine.config().labels[index]
    }

    fn is_ignored(&self, label: &str) -> bool {
        self.options.ignore_labels.iter().any(|ignored| ignored == label)
    }
}

/// Whether a tag begins an entity, and its label: `B-PER` is (true, PER), `I-PER` and `PER` are (false, PER).
fn split_tag(tag: &str) -> (bool, &str) {
    match tag.split_once('-') {
        Some(("B", label)) => (true, label),
        Some(("I", label)) => (false, label),
        _ => (false, tag),
    }
}

fn best(scores: &[f32]) -> usize {
    top_k(scores, 1).first().copied().unwrap_or(0)
}

/// One part per word.
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

#[cfg(test)]
mod tests {
    use super::split_tag;

    /// As Hugging Face's `get_tag`: a tag without one of the two marks continues an entity of its own name.
    #[test]
    fn only_b_begins_an_entity() {
        for (tag, expected) in [
            ("B-PER", (true, "PER")),
            ("I-PER", (false, "PER")),
            ("PER", (false, "PER")),
            ("B-", (true, "")),
            ("I-", (false, "")),
            ("B", (false, "B")),
            ("I", (false, "I")),
            ("E-PER", (false, "E-PER")),
            ("B-creative-work", (true, "creative-work")),
        ] {
            assert_eq!(split_tag(tag), expected, "{tag}");
        }
    }
}
