//! Vectors for texts.

use serde::{Deserialize, Serialize};

use super::job::{Arrivals, Job};
use super::model::{Model, ModelOptions};
use super::pass::Sequence;
use super::runner::prepare_all;
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::source::Source;
use crate::text::{Encoding, Tokenizer, WindowOptions};

const TASK: &str = "embedding";

/// The way in which the hidden states of a text's tokens, special tokens included, become one vector. Names
/// and formulas are those of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// The mean of the states.
    #[default]
    Mean,
    /// The state of the first token.
    Cls,
    /// The largest value of each column.
    Max,
    /// The sum of the states, divided by the square root of their number.
    MeanSqrtLen,
    /// The mean of the states, weighted by the token's place, which counts from 1.
    WeightedMean,
    /// The state of the last token, which is `[SEP]`.
    LastToken,
}

impl std::str::FromStr for Pooling {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            "max" => Ok(Self::Max),
            "mean_sqrt_len" | "mean_sqrt_len_tokens" => Ok(Self::MeanSqrtLen),
            "weighted_mean" | "weightedmean" => Ok(Self::WeightedMean),
            "last_token" | "lasttoken" => Ok(Self::LastToken),
            other => {
                let expected = "`mean`, `cls`, `max`, `mean_sqrt_len`, `weighted_mean` or `last_token`";
                Err(Error::option("pooling", expected, format!("`{other}`")))
            }
        }
    }
}

/// The options for making vectors. An option that is not set has the value that the model's folder gives in
/// the files of sentence-transformers (`modules.json` and those that it names), or else the field's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbedOptions {
    /// The way in which hidden states become one vector. Default: their mean.
    pub pooling: Option<Pooling>,
    /// True if vectors are scaled to length 1, so that their dot product is the cosine. Default: `true`.
    pub normalize: Option<bool>,
    /// The longest sequence in tokens. Default: the model's limit.
    pub max_seq_len: Option<usize>,
}

impl EmbedOptions {
    fn windows(&self, model: &Model) -> Result<WindowOptions> {
        let default = model.sentence().and_then(|settings| settings.max_seq_len).unwrap_or(usize::MAX);
        let windows = model.windows(self.max_seq_len, default, None)?;
        windows.room(Encoding::SPECIAL_SINGLE)?;
        Ok(windows)
    }

    fn poolings(&self, model: &Model) -> Vec<Pooling> {
        match (self.pooling, model.sentence()) {
            (Some(pooling), _) => vec![pooling],
            (None, Some(settings)) => settings.poolings.clone(),
            (None, None) => vec![Pooling::default()],
        }
    }
}

/// A text's vector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Embedding {
    /// The vector. It has `hidden_size` numbers, or a multiple of it if the model's folder asks for several
    /// kinds of [`Pooling`].
    pub embedding: Vec<f32>,
    /// True if the end of the text was not read because it did not fit the model.
    pub truncated: bool,
}

impl Embedding {
    /// Returns the cosine of the angle to another vector: 1 for the same direction, and 0 if either vector is
    /// zero.
    pub fn cosine(&self, other: &Embedding) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let lengths =
            (dot(&self.embedding, &self.embedding) * dot(&other.embedding, &other.embedding)).sqrt();
        if lengths > 0.0 { dot(&self.embedding, &other.embedding) / lengths } else { 0.0 }
    }
}

/// A pipeline that turns texts into vectors.
///
/// ```
/// # fn main() -> mobilebert::Result<()> {
/// let embedder = mobilebert::Embedder::open("embed")?;
/// let vectors = embedder.embed_batch(&["How old are you?", "What is your age?", "The train leaves at noon."])?;
/// assert!(vectors[0].cosine(&vectors[1]) > vectors[0].cosine(&vectors[2]) + 0.3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Embedder {
    model: Model,
    options: EmbedOptions,
}

impl Embedder {
    /// Opens a model with default options. Any model will do, because its head is not loaded.
    ///
    /// # Errors
    /// The errors of [`Embedder::open_with`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_with(source, ModelOptions::new(), EmbedOptions::default())
    }

    /// Opens a model. Calls that bring no options of their own use `options`.
    ///
    /// # Errors
    /// The errors of [`Model::open`], and [`crate::ErrorKind::Option`] for a value out of range.
    pub fn open_with(
        source: impl Into<Source>,
        model: impl Into<ModelOptions>,
        options: EmbedOptions,
    ) -> Result<Self> {
        Self::from_parts(Model::open_for(source, Head::None, TASK, model)?, options)
    }

    /// Makes a pipeline over a model that is already loaded. It also shares the weights of a model that was
    /// loaded for another task, and does not use that task's head; see [`Model::encoder`].
    ///
    /// ```
    /// use mobilebert::{AnswerOptions, EmbedOptions, Embedder, Model, ModelOptions, QuestionAnswering};
    ///
    /// # fn main() -> mobilebert::Result<()> {
    /// let model = Model::open("qa", ModelOptions::new())?;
    /// let qa = QuestionAnswering::from_parts(model.clone(), AnswerOptions::default())?;
    /// let embedder = Embedder::from_parts(model, EmbedOptions::default())?;
    /// assert_eq!(qa.answer("Who built it?", "It was built by Ada.")?.answer, "Ada");
    /// let hidden_size = embedder.engine().config().hidden_size;
    /// assert_eq!(embedder.embed("It was built by Ada.")?.embedding.len(), hidden_size);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`Model::encoder`], and [`crate::ErrorKind::Option`] for a value out of range.
    pub fn from_parts(model: Model, options: EmbedOptions) -> Result<Self> {
        let model = model.encoder()?;
        options.windows(&model)?;
        Ok(Self { model, options })
    }

    /// Returns the model below, which other pipelines may share.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns true if the model was trained to give similar texts similar vectors. A folder of
    /// sentence-transformers says so by its `modules.json`. The hidden states of other models, such as one
    /// for question answering, are vectors too, but those of unrelated texts may be closer to each other than
    /// those of paraphrases.
    pub fn is_trained_for_embeddings(&self) -> bool {
        self.model.sentence().is_some()
    }

    /// Returns the options of calls that bring none.
    pub fn options(&self) -> &EmbedOptions {
        &self.options
    }

    /// Returns how many numbers a vector has with [`Embedder::options`]: the width of the model's hidden
    /// states, or several times that where a folder of sentence-transformers joins several poolings.
    pub fn dimensions(&self) -> usize {
        self.poolings().len() * self.model.config().hidden_size
    }

    /// Returns the kinds of pooling that make a vector with [`Embedder::options`]. Their results are put end to
    /// end.
    pub fn poolings(&self) -> Vec<Pooling> {
        self.options.poolings(&self.model)
    }

    /// Returns the engine below.
    pub fn engine(&self) -> &Engine {
        self.model.engine()
    }

    /// Returns the tokenizer below.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.model.tokenizer()
    }

    /// Computes the vector of a text.
    ///
    /// # Errors
    /// [`crate::ErrorKind::EmptyText`] for a text without words.
    pub fn embed(&self, text: &str) -> Result<Embedding> {
        self.embed_with(text, &self.options)
    }

    /// Does what [`Embedder::embed`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`Embedder::embed`], and [`crate::ErrorKind::Option`] for a value out of range.
    pub fn embed_with(&self, text: &str, options: &EmbedOptions) -> Result<Embedding> {
        self.model.run_one(self.prepare_embed(text, options)?, &mut super::RunControl::default())
    }

    /// Computes the vector of each text, in batches. No result depends on the other texts.
    ///
    /// # Errors
    /// The errors of [`Embedder::embed`], for the first text that fails. [`Model::run`] gives each text a
    /// result of its own.
    pub fn embed_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Embedding>> {
        self.embed_batch_with(texts, &self.options)
    }

    /// Does what [`Embedder::embed_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`Embedder::embed_with`], for the first text that fails.
    pub fn embed_batch_with<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &EmbedOptions,
    ) -> Result<Vec<Embedding>> {
        const UNIT: &str = "text";
        let prepare = |text: &T| self.prepare_embed(text.as_ref(), options);
        self.model.run_all(prepare_all(texts, UNIT, prepare)?, UNIT)
    }

    /// Makes a job that embeds a text.
    ///
    /// # Errors
    /// The errors of [`Embedder::embed_with`].
    pub fn prepare_embed(&self, text: &str, options: &EmbedOptions) -> Result<EmbedJob> {
        let windows = options.windows(&self.model)?;
        let tokens = match self.model.sentence() {
            Some(settings) if settings.lower_case || !settings.prompt.is_empty() => {
                // A prompt alone does not make a text.
                self.model.tokenize(text, "text")?;
                let text = format!("{}{text}", settings.prompt);
                let text = if settings.lower_case { text.to_lowercase() } else { text };
                self.model.tokenize(&text, "text")?
            }
            _ => self.model.tokenize(text, "text")?,
        };
        let (encoding, truncated) = tokens.encode_truncated(None, windows.max_seq_len)?;
        Ok(EmbedJob {
            encoding,
            truncated,
            width: self.model.config().hidden_size,
            poolings: options.poolings(&self.model),
            normalize: options
                .normalize
                .unwrap_or_else(|| self.model.sentence().is_none_or(|settings| settings.normalize)),
            vector: Vec::new(),
            arrivals: Arrivals::new(1),
        })
    }
}

/// The job that makes the vector of one text; see [`Embedder::prepare_embed`].
#[derive(Debug)]
pub struct EmbedJob {
    encoding: Encoding,
    truncated: bool,
    width: usize,
    poolings: Vec<Pooling>,
    normalize: bool,
    vector: Vec<f32>,
    arrivals: Arrivals,
}

impl Job for EmbedJob {
    type Output = Embedding;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        (index == 0).then(|| Sequence::new(self.encoding.clone()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let mut accepted = false;
        self.arrivals.accept(index, rows, (self.encoding.len(), self.width), |_, _| accepted = true)?;
        if accepted {
            self.vector = self.pool(rows, self.width);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Embedding> {
        self.arrivals.finish()?;
        Ok(Embedding { embedding: std::mem::take(&mut self.vector), truncated: self.truncated })
    }
}

impl EmbedJob {
    /// Returns true if the end of the text is not read because it does not fit the model.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    fn pool(&self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut vector: Vec<f32> =
            self.poolings.iter().flat_map(|&pooling| pooled(pooling, rows, width)).collect();
        if self.normalize {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            // A direction shorter than this is rounding noise. sentence-transformers uses the same floor.
            vector.iter_mut().for_each(|x| *x /= length.max(1e-12));
        }
        vector
    }
}

/// Makes one vector from the rows of a text, of which there is at least one.
fn pooled(pooling: Pooling, rows: &[f32], width: usize) -> Vec<f32> {
    let tokens = rows.len() / width;
    // This adds up the rows, each times its weight.
    let sum = |weight: fn(usize) -> f32| {
        let mut sum = vec![0.0f32; width];
        for (i, row) in rows.chunks_exact(width).enumerate() {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight(i) * x);
        }
        sum
    };
    let divided = |mut sum: Vec<f32>, by: f32| {
        sum.iter_mut().for_each(|x| *x /= by);
        sum
    };
    match pooling {
        Pooling::Cls => rows[..width].to_vec(),
        Pooling::LastToken => rows[rows.len() - width..].to_vec(),
        Pooling::Mean => divided(sum(|_| 1.0), tokens as f32),
        Pooling::MeanSqrtLen => divided(sum(|_| 1.0), (tokens as f32).sqrt()),
        Pooling::WeightedMean => divided(sum(|i| (i + 1) as f32), (tokens * (tokens + 1) / 2) as f32),
        Pooling::Max => {
            let mut max = rows[..width].to_vec();
            for row in rows.chunks_exact(width) {
                max.iter_mut().zip(row).for_each(|(max, &x)| *max = max.max(x));
            }
            max
        }
    }
}
