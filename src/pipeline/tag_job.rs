//! The labels of one text, window by window.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::{Arrivals, Job};
use super::model::Model;
use super::pass::Sequence;
use super::scores::{softmax, top_k};
use super::tag_scheme::TagScheme;
use super::token_classification::{AggregationStrategy, Entity, TagOptions};
use crate::error::Result;
use crate::text::{Encoding, Span, TextTokens, Window, WindowOptions};

/// The job that finds the entities of one text; see [`super::TokenClassification::prepare_tag`]. It keeps the
/// scores of those tokens that a later window may show again, and the entities.
#[derive(Debug)]
pub struct TagJob {
    text: Arc<str>,
    tokens: TextTokens,
    windows: WindowOptions,
    labelling: Labelling,
    arrivals: Arrivals,
}

impl TagJob {
    pub(super) fn new(
        model: Model,
        options: &TagOptions,
        text: Arc<str>,
        tokens: TextTokens,
        windows: WindowOptions,
    ) -> Result<Self> {
        let count = tokens.windows(&windows)?.len();
        let joiner = Joiner::new(model, options.clone());
        let labelling = Labelling { open: VecDeque::new(), first: 0, joiner };
        Ok(Self { text, tokens, windows, labelling, arrivals: Arrivals::new(count) })
    }
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
        let width = self.labelling.joiner.labels().len();
        let windows = self.tokens.windows(&self.windows)?;
        let tokens = windows.sequence_len(index);
        let (labelling, text) = (&mut self.labelling, &*self.text);
        self.arrivals.accept(index, rows, (tokens, width), |index, logits| {
            let Some(window) = windows.get(index) else { return };
            labelling.add(&window, logits, width);
            labelling.close_before(windows.first_token(index + 1), text);
        })
    }

    fn finish(&mut self) -> Result<Vec<Entity>> {
        self.arrivals.finish()?;
        self.labelling.close_before(usize::MAX, &self.text);
        Ok(self.labelling.joiner.finish(&self.text))
    }
}

/// The scores of the tokens that a later window may show again.
#[derive(Debug)]
struct Labelling {
    open: VecDeque<Token>,
    /// The index of the first open token.
    first: usize,
    joiner: Joiner,
}

#[derive(Debug)]
struct Token {
    span: Span,
    word: Option<usize>,
    scores: Vec<f32>,
    /// The number of neighbours that the model saw on the token's poorer side.
    context: usize,
}

impl Labelling {
    /// Adds the logits of a window. Windows come in order.
    fn add(&mut self, window: &Window, logits: &[f32], width: usize) {
        let (range, encoding): (_, &Encoding) = (window.tokens(), window.encoding());
        for (position, token) in window.positions().zip(range.clone()) {
            let context = (token - range.start).min(range.end - 1 - token);
            let scores = || softmax(&logits[position * width..(position + 1) * width]);
            match self.open.get_mut(token - self.first) {
                // The first of equal windows wins.
                Some(kept) if context > kept.context => (kept.context, kept.scores) = (context, scores()),
                Some(_) => {}
                None => {
                    let (span, word) = (encoding.span(position), encoding.word_id(position));
                    self.open.push_back(Token { span, word, scores: scores(), context });
                }
            }
        }
    }

    /// Makes entities of the tokens in front of one, which no later window shows.
    fn close_before(&mut self, token: usize, text: &str) {
        while self.first < token
            && let Some(Token { span, word, scores, .. }) = self.open.pop_front()
        {
            self.joiner.add(Part::new(span, scores), word, text);
            self.first += 1;
        }
    }
}

/// A token or word with a score for each label.
#[derive(Debug)]
struct Part {
    span: Span,
    scores: Vec<f32>,
    label: usize,
}

impl Part {
    fn new(span: Span, scores: Vec<f32>) -> Self {
        Self { span, label: top_k(&scores, 1).first().copied().unwrap_or(0), scores }
    }

    fn score(&self) -> f32 {
        self.scores[self.label]
    }
}

/// Joins tokens that come one by one to words and entities.
#[derive(Debug)]
struct Joiner {
    model: Model,
    scheme: TagScheme,
    options: TagOptions,
    /// The tokens of the word that may go on, and the word's number.
    word: Vec<Part>,
    word_id: Option<usize>,
    /// The entity that may go on.
    group: Option<Group>,
    entities: Vec<Entity>,
}

/// The parts of an entity.
#[derive(Debug)]
struct Group {
    /// The label of the first part.
    first: usize,
    /// The label of the last part.
    last: usize,
    span: Span,
    score: f32,
    parts: usize,
}

impl Joiner {
    fn new(model: Model, options: TagOptions) -> Self {
        let scheme = TagScheme::of(&model.config().labels);
        Self { model, scheme, options, word: Vec::new(), word_id: None, group: None, entities: Vec::new() }
    }

    fn labels(&self) -> &[String] {
        &self.model.config().labels
    }

    fn add(&mut self, token: Part, word: Option<usize>, text: &str) {
        match self.options.aggregation_strategy {
            AggregationStrategy::None => {
                self.push(&Group::of(&token), self.labels()[token.label].clone(), text)
            }
            AggregationStrategy::Simple => self.join(&token, text),
            _ => {
                if word != self.word_id {
                    self.end_word(text);
                    self.word_id = word;
                }
                self.word.push(token);
            }
        }
    }

    /// Returns the entities in the text's order.
    fn finish(&mut self, text: &str) -> Vec<Entity> {
        self.end_word(text);
        self.end_group(text);
        std::mem::take(&mut self.entities)
    }

    fn end_word(&mut self, text: &str) {
        if let Some(word) = word(std::mem::take(&mut self.word), self.options.aggregation_strategy) {
            self.join(&word, text);
        }
    }

    /// Joins a part to its neighbour as [`TagScheme::groups`] does.
    fn join(&mut self, part: &Part, text: &str) {
        let tag = |label: usize| self.scheme.split(&self.model.config().labels[label]);
        match &mut self.group {
            Some(group) if self.scheme.joins(tag(group.last), tag(part.label)) => group.add(part),
            _ => {
                self.end_group(text);
                self.group = Some(Group::of(part));
            }
        }
    }

    fn end_group(&mut self, text: &str) {
        if let Some(group) = self.group.take() {
            let label = self.scheme.split(&self.labels()[group.first]).1.to_owned();
            self.push(&group, label, text);
        }
    }

    /// Adds an entity, unless its label is ignored.
    fn push(&mut self, group: &Group, label: String, text: &str) {
        if self.options.ignore_labels.contains(&label) {
            return;
        }
        let Group { span, score, parts, .. } = group;
        let grouped = self.options.aggregation_strategy != AggregationStrategy::None;
        let (score, word) = (score / *parts as f32, text[span.range()].to_owned());
        self.entities.push(Entity { label, grouped, score, word, start: span.start, end: span.end });
    }
}

impl Group {
    fn of(part: &Part) -> Self {
        Self { first: part.label, last: part.label, span: part.span, score: part.score(), parts: 1 }
    }

    fn add(&mut self, part: &Part) {
        self.last = part.label;
        self.span = self.span.cover(part.span);
        self.score += part.score();
        self.parts += 1;
    }
}

/// Makes one part of the tokens of a word.
fn word(parts: Vec<Part>, strategy: AggregationStrategy) -> Option<Part> {
    let span = parts.iter().map(|p| p.span).reduce(Span::cover)?;
    let scores = match strategy {
        AggregationStrategy::Average => {
            let mean = |label: usize| parts.iter().map(|p| p.scores[label]).sum::<f32>() / parts.len() as f32;
            (0..parts[0].scores.len()).map(mean).collect()
        }
        AggregationStrategy::Max => {
            let most = parts.into_iter().reduce(|a, b| if b.score() > a.score() { b } else { a })?;
            most.scores
        }
        _ => parts.into_iter().next()?.scores,
    };
    Some(Part::new(span, scores))
}
