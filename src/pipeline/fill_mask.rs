//! Words for `[MASK]`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::job::{Arrivals, Job};
use super::model::{Model, ModelOptions};
use super::pass::Sequence;
use super::runner::prepare_all;
use super::scores::{softmax, top_k};
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Source;
use crate::text::{Encoding, Tokenizer};

const TASK: &str = "fill-mask";

/// The options for the words of each mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FillOptions {
    /// The number of words for each mask. Default: 5.
    pub top_k: usize,
    /// The only words to rank, each of which has to be one entry of the vocabulary. Default: the whole
    /// vocabulary.
    pub targets: Vec<String>,
}

impl Default for FillOptions {
    fn default() -> Self {
        Self { top_k: 5, targets: Vec::new() }
    }
}

impl FillOptions {
    /// Looks up the ids of the targets. A token that was added to the vocabulary may have an id beyond the
    /// table of the model, which has no score for it.
    fn targets(&self, model: &Model) -> Result<Vec<u32>> {
        if self.top_k == 0 {
            return Err(Error::option("top_k", "at least 1", self.top_k));
        }
        let target = |word: &String| {
            let id = model.tokenizer().token_to_id(word).ok_or_else(|| {
                Error::option("targets", "words that are one entry of the vocabulary", word)
            })?;
            let rows = model.config().vocab_size;
            if id as usize >= rows {
                let expected = format!("words whose ids are below the model's vocab_size {rows}");
                return Err(Error::option("targets", expected, format!("{word}, which has the id {id}")));
            }
            Ok(id)
        };
        self.targets.iter().map(target).collect()
    }
}

/// A word for a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Fill {
    /// The text with the word in the mask's place.
    pub sequence: String,
    /// The probability of the word in the whole vocabulary. The scores of a list of targets do not sum to 1.
    pub score: f32,
    /// The word's id in the vocabulary.
    pub token: u32,
    /// The word as the vocabulary spells it.
    pub token_str: String,
}

/// A pipeline that finds words for masks.
#[derive(Debug, Clone)]
pub struct FillMask {
    model: Model,
    mask: u32,
    options: FillOptions,
}

impl FillMask {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// The errors of [`FillMask::open_with`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_with(source, ModelOptions::new(), FillOptions::default())
    }

    /// Opens a model. Calls that bring no options of their own use `options`.
    ///
    /// # Errors
    /// The errors of [`Model::open`]; [`ErrorKind::WrongTask`] if the model has no masked-LM head;
    /// [`ErrorKind::Option`] for a target that is not in the vocabulary; [`ErrorKind::Tokenizer`] if the
    /// vocabulary has no mask token.
    pub fn open_with(
        source: impl Into<Source>,
        model: impl Into<ModelOptions>,
        options: FillOptions,
    ) -> Result<Self> {
        Self::from_parts(Model::open_for(source, Head::MaskedLm, TASK, model)?, options)
    }

    /// Makes a pipeline over a model that is already loaded. This costs nothing, because clones of a
    /// [`Model`] share its weights.
    ///
    /// # Errors
    /// The errors of [`FillMask::open_with`], but for those of loading.
    pub fn from_parts(model: Model, options: FillOptions) -> Result<Self> {
        model.check_loaded(Head::MaskedLm, TASK)?;
        let Some(mask) = model.tokenizer().special_ids().mask else {
            let problem =
                "has no mask token; expected [MASK] or the one that tokenizer_config.json names".to_owned();
            return Err(ErrorKind::Tokenizer { file: "vocabulary".to_owned(), problem }.into());
        };
        options.targets(&model)?;
        Ok(Self { model, mask, options })
    }

    /// Returns the model below, which other pipelines may share.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the options of calls that bring none.
    pub fn options(&self) -> &FillOptions {
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

    /// Finds the best words for each `[MASK]` of the text, in the text's order. Several masks are filled
    /// independently: each [`Fill::sequence`] leaves the other masks in place.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for an empty text, [`ErrorKind::Input`] if it has no mask,
    /// [`ErrorKind::TooLong`] if it does not fit the model.
    pub fn fill(&self, text: &str) -> Result<Vec<Vec<Fill>>> {
        self.fill_with(text, &self.options)
    }

    /// Does what [`FillMask::fill`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`FillMask::fill`], and [`ErrorKind::Option`] for a value out of range.
    pub fn fill_with(&self, text: &str, options: &FillOptions) -> Result<Vec<Vec<Fill>>> {
        self.model.run_one(self.prepare_fill(text, options)?, &mut super::RunControl::default())
    }

    /// Does what [`FillMask::fill`] does for each text. Texts share forward passes, and no result depends on
    /// the other texts.
    ///
    /// # Errors
    /// The errors of [`FillMask::fill`], for the first text that fails. [`Model::run`] gives each text a
    /// result of its own.
    pub fn fill_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Vec<Vec<Fill>>>> {
        self.fill_batch_with(texts, &self.options)
    }

    /// Does what [`FillMask::fill_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`FillMask::fill_with`], for the first text that fails.
    pub fn fill_batch_with<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &FillOptions,
    ) -> Result<Vec<Vec<Vec<Fill>>>> {
        const UNIT: &str = "text";
        let prepare = |text: &T| self.prepare_fill(text.as_ref(), options);
        self.model.run_all(prepare_all(texts, UNIT, prepare)?, UNIT)
    }

    /// Makes a job that fills the masks of a text.
    ///
    /// # Errors
    /// The errors of [`FillMask::fill_with`].
    pub fn prepare_fill(&self, text: &str, options: &FillOptions) -> Result<FillJob> {
        let targets = options.targets(&self.model)?;
        let tokens = self.model.tokenize(text, "text")?;
        let (found, limit) = (tokens.len() + Encoding::SPECIAL_SINGLE, self.model.max_len());
        if found > limit {
            let hint = "shorten it; a masked text is not cut";
            return Err(ErrorKind::TooLong { what: "text", found, limit, hint }.into());
        }
        let encoding = tokens.encode();
        let masks: Vec<usize> = (0..encoding.len()).filter(|&i| encoding.ids()[i] == self.mask).collect();
        if masks.is_empty() {
            let mask = self.tokenizer().id_to_token(self.mask).unwrap_or_default();
            let problem = format!("has no {mask}; write {mask} where a word is to be found");
            return Err(ErrorKind::Input { place: "text".to_owned(), problem }.into());
        }
        Ok(FillJob {
            model: self.model.clone(),
            top_k: options.top_k,
            targets,
            text: text.into(),
            sequence: Sequence::with_requested(encoding, masks),
            fills: Vec::new(),
            arrivals: Arrivals::new(1),
        })
    }
}

/// The job that finds the words for the masks of one text; see [`FillMask::prepare_fill`].
#[derive(Debug)]
pub struct FillJob {
    model: Model,
    top_k: usize,
    targets: Vec<u32>,
    text: Arc<str>,
    sequence: Sequence,
    fills: Vec<Vec<Fill>>,
    arrivals: Arrivals,
}

impl Job for FillJob {
    type Output = Vec<Vec<Fill>>;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        (index == 0).then(|| self.sequence.clone())
    }

    /// Takes, for each mask, a row of scores of the whole vocabulary.
    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let (masks, width) = (self.sequence.requested().len(), self.model.config().vocab_size);
        let mut accepted = false;
        self.arrivals.accept(index, rows, (masks, width), |_, _| accepted = true)?;
        if accepted {
            let each = self.sequence.requested().iter().zip(rows.chunks_exact(width));
            self.fills = each.map(|(&position, row)| self.fills_of(position, row)).collect();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Vec<Fill>>> {
        self.arrivals.finish()?;
        Ok(std::mem::take(&mut self.fills))
    }
}

impl FillJob {
    fn fills_of(&self, position: usize, row: &[f32]) -> Vec<Fill> {
        let scores = softmax(row);
        let span = self.sequence.encoding().span(position);
        let fill = |id: u32| {
            let token_str = self.model.tokenizer().id_to_token(id).unwrap_or_default().to_owned();
            let sequence = format!("{}{token_str}{}", &self.text[..span.start], &self.text[span.end..]);
            Fill { sequence, score: scores[id as usize], token: id, token_str }
        };
        self.ranked(&scores).into_iter().map(fill).collect()
    }

    /// Returns the ids of the best words. A table may have more rows than the vocabulary has words, because
    /// tables are padded to round sizes; a row without a word is no answer.
    fn ranked(&self, scores: &[f32]) -> Vec<u32> {
        let is_word = |&id: &u32| self.model.tokenizer().id_to_token(id).is_some();
        let words: Vec<u32> = match &self.targets[..] {
            [] => (0..scores.len() as u32).filter(is_word).collect(),
            targets => targets.to_vec(),
        };
        let of_words: Vec<f32> = words.iter().map(|&id| scores[id as usize]).collect();
        top_k(&of_words, self.top_k).into_iter().map(|i| words[i]).collect()
    }
}
