//! Words for `[MASK]`.

use serde::Serialize;

use super::runner::Runner;
use super::scores::{softmax, top_k};
use crate::config::Head;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::text::{Batch, Encoding, Tokenizer};

/// How many words, and which.
#[derive(Debug, Clone)]
#[must_use]
pub struct FillMaskOptions {
    engine: EngineOptions,
    top_k: usize,
    targets: Vec<String>,
}

impl Default for FillMaskOptions {
    fn default() -> Self {
        Self { engine: EngineOptions::new(), top_k: 5, targets: Vec::new() }
    }
}

impl FillMaskOptions {
    /// The best five of the whole vocabulary.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// Number of words for each mask.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Ranks only these words; each has to be one entry of the vocabulary.
    pub fn targets<T: Into<String>>(mut self, targets: impl IntoIterator<Item = T>) -> Self {
        self.targets = targets.into_iter().map(Into::into).collect();
        self
    }

    /// Opens a model; see [`crate::ModelFiles::resolve`] for `source`.
    ///
    /// # Errors
    /// Those of [`Engine::open`]; [`ErrorKind::WrongTask`] if the model has no masked-LM head; [`ErrorKind::Option`] for
    /// a target that is not in the vocabulary; [`ErrorKind::Tokenizer`] if the vocabulary has no mask token.
    pub fn open(self, source: &str) -> Result<FillMask> {
        if self.top_k == 0 {
            return Err(Error::option("top_k", "at least 1", self.top_k));
        }
        let runner = Runner::open(source, Head::MaskedLm, "fill-mask", |t| t, self.engine.clone())?;
        let Some(mask) = runner.tokenizer.special_ids().mask else {
            let problem =
                "has no mask token; expected [MASK] or the one that tokenizer_config.json names".to_owned();
            return Err(ErrorKind::Tokenizer { file: "vocabulary".to_owned(), problem }.into());
        };
        let target = |word: &String| {
            let id = runner.tokenizer.token_to_id(word);
            id.ok_or_else(|| Error::option("targets", "words that are one entry of the vocabulary", word))
        };
        let targets = self.targets.iter().map(target).collect::<Result<_>>()?;
        Ok(FillMask { runner, mask, targets, top_k: self.top_k })
    }
}

/// A word for a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Fill {
    /// The text with the word in the mask's place.
    pub sequence: String,
    /// Probability of the word; over the targets only, if there are any, it does not sum to 1.
    pub score: f32,
    /// Vocabulary id.
    pub token: u32,
    /// The word as the vocabulary spells it.
    pub token_str: String,
}

/// Fills masks.
#[derive(Debug)]
pub struct FillMask {
    runner: Runner,
    mask: u32,
    targets: Vec<u32>,
    top_k: usize,
}

impl FillMask {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// As [`FillMaskOptions::open`].
    pub fn open(source: &str) -> Result<Self> {
        FillMaskOptions::new().open(source)
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.runner.engine
    }

    /// The tokenizer below.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.runner.tokenizer
    }

    /// The best words for each `[MASK]` of the text, in its order. Several masks are filled independently; each
    /// [`Fill::sequence`] leaves the other masks.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for an empty text, [`ErrorKind::Input`] if it has no mask, [`ErrorKind::TooLong`] if it does
    /// not fit the model.
    pub fn fill(&self, text: &str) -> Result<Vec<Vec<Fill>>> {
        let tokens = self.runner.tokenize(text, "text")?;
        let (found, limit) = (tokens.len() + Encoding::SPECIAL_SINGLE, self.runner.max_len);
        if found > limit {
            let hint = "shorten it; a masked text is not cut";
            return Err(ErrorKind::TooLong { what: "text", found, limit, hint }.into());
        }
        let encoding = tokens.encode();
        let masks: Vec<usize> = (0..encoding.len()).filter(|&i| encoding.ids()[i] == self.mask).collect();
        if masks.is_empty() {
            let mask = self.runner.tokenizer.id_to_token(self.mask).unwrap_or_default();
            let problem = format!("has no {mask}; write {mask} where a word is to be found");
            return Err(ErrorKind::Input { place: "text".to_owned(), problem }.into());
        }
        let batch = Batch::single(encoding.ids(), encoding.type_ids())?;
        let output = self.runner.engine.forward_rows(&batch, &masks)?;
        let each = masks.iter().enumerate().map(|(row, &position)| {
            let scores = softmax(output.row(row));
            let span = encoding.span(position);
            let fill = |id: u32| {
                let token_str = self.runner.tokenizer.id_to_token(id).unwrap_or_default().to_owned();
                let sequence = format!("{}{token_str}{}", &text[..span.start], &text[span.end..]);
                Fill { sequence, score: scores[id as usize], token: id, token_str }
            };
            self.ranked(&scores).into_iter().map(fill).collect()
        });
        Ok(each.collect())
    }

    /// [`FillMask::fill`] of each text.
    ///
    /// # Errors
    /// As [`FillMask::fill`], for the first text that fails.
    pub fn fill_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<Vec<Fill>>>> {
        let each = texts.iter().enumerate();
        each.map(|(i, text)| self.fill(text.as_ref()).context(|| format!("text {}", i + 1))).collect()
    }

    fn ranked(&self, scores: &[f32]) -> Vec<u32> {
        if self.targets.is_empty() {
            return top_k(scores, self.top_k).into_iter().map(|id| id as u32).collect();
        }
        let of_targets: Vec<f32> = self.targets.iter().map(|&id| scores[id as usize]).collect();
        top_k(&of_targets, self.top_k).into_iter().map(|i| self.targets[i]).collect()
    }
}
