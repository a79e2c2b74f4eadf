//! Labels for texts and pairs of texts.

use std::borrow::Cow;

use serde::Serialize;

use super::runner::Runner;
use super::scores::{FunctionToApply, top_k};
use crate::config::Head;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::text::{Encoding, TokenizedText, Tokenizer, WindowOptions, Windows};

/// What happens to a text that is longer than the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LongText {
    /// The beginning is classified, and the result says so: [`Classification::truncated`].
    #[default]
    Truncate,
    /// Overlapping windows are classified and the mean of their logits is scored.
    WindowsMean,
    /// As `WindowsMean`, with each label's largest logit.
    WindowsMax,
    /// An error: [`ErrorKind::TooLong`].
    Refuse,
}

impl std::str::FromStr for LongText {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "truncate" => Ok(Self::Truncate),
            "windows-mean" => Ok(Self::WindowsMean),
            "windows-max" => Ok(Self::WindowsMax),
            "refuse" => Ok(Self::Refuse),
            other => {
                let expected = "`truncate`, `windows-mean`, `windows-max` or `refuse`";
                Err(Error::option("long_text", expected, format!("`{other}`")))
            }
        }
    }
}

/// How logits become labels.
#[derive(Debug, Clone)]
#[must_use]
pub struct TextClassificationOptions {
    engine: EngineOptions,
    top_k: usize,
    threshold: Option<f32>,
    function_to_apply: FunctionToApply,
    long_text: LongText,
    max_seq_len: Option<usize>,
    doc_stride: Option<usize>,
    labels: Vec<String>,
}

impl Default for TextClassificationOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::new(),
            top_k: 1,
            threshold: None,
            function_to_apply: FunctionToApply::Auto,
            long_text: LongText::Truncate,
            max_seq_len: None,
            doc_stride: None,
            labels: Vec::new(),
        }
    }
}

impl TextClassificationOptions {
    /// The best label, scored as the model's `problem_type` says.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// Number of labels at most, best first. `usize::MAX` for all.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Leaves out labels with a score below this.
    pub fn threshold(mut self, score: f32) -> Self {
        self.threshold = Some(score);
        self
    }

    /// What turns logits into scores.
    pub fn function_to_apply(mut self, function: FunctionToApply) -> Self {
        self.function_to_apply = function;
        self
    }

    /// What happens to texts that are longer than the model.
    pub fn long_text(mut self, long_text: LongText) -> Self {
        self.long_text = long_text;
        self
    }

    /// Longest sequence in tokens. Default: the model's limit.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// Tokens that neighbouring windows share.
    pub fn doc_stride(mut self, tokens: usize) -> Self {
        self.doc_stride = Some(tokens);
        self
    }

    /// Reports only these labels. They still compete with the others for a softmax.
    pub fn labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Opens a model; see [`crate::ModelFiles::resolve`] for `source`.
    ///
    /// # Errors
    /// Those of [`Engine::open`]; [`ErrorKind::WrongTask`] if the model has another head; [`ErrorKind::Option`] for a
    /// value out of range or a label that the model does not have.
    pub fn open(self, source: &str) -> Result<TextClassification> {
        if self.top_k == 0 {
            return Err(Error::option("top_k", "at least 1", self.top_k));
        }
        let runner = Runner::open(
            source,
            Head::SequenceClassification,
            "text classification",
            |tokenizer| tokenizer,
            self.engine.clone(),
        )?;
        let known = &runner.engine.config().labels;
        if let Some(unknown) = self.labels.iter().find(|label| !known.contains(label)) {
            return Err(Error::option("labels", format!("some of {}", known.join(", ")), unknown));
        }
        let max_seq_len = runner.max_seq_len(self.max_seq_len, usize::MAX)?;
        let mut windows = WindowOptions::new(max_seq_len);
        if let Some(tokens) = self.doc_stride {
            windows = windows.doc_stride(tokens);
        }
        match self.long_text {
            LongText::WindowsMean | LongText::WindowsMax => windows.check(Encoding::SPECIAL_SINGLE)?,
            LongText::Truncate | LongText::Refuse => {
                windows.room(Encoding::SPECIAL_SINGLE)?;
            }
        }
        Ok(TextClassification { runner, windows, options: self })
    }
}

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LabelScore {
    /// From the model's `id2label`.
    pub label: String,
    /// As [`FunctionToApply`] says.
    pub score: f32,
}

/// The labels of one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Classification {
    /// Best first; empty if none reached the threshold.
    pub labels: Vec<LabelScore>,
    /// Whether the end of the text was not read, because it did not fit the model.
    pub truncated: bool,
}

impl Classification {
    /// The best label, if one reached the threshold.
    pub fn best(&self) -> Option<&LabelScore> {
        self.labels.first()
    }
}

/// Classifies texts.
///
/// ```
/// # fn main() -> mobilebert::Result<()> {
/// let sentiment = mobilebert::TextClassification::open("sentiment")?;
/// let result = sentiment.classify("a joy to watch")?;
/// assert_eq!(result.best().map(|best| best.label.as_str()), Some("positive"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TextClassification {
    runner: Runner,
    windows: WindowOptions,
    options: TextClassificationOptions,
}

/// The sequences that one text becomes.
enum Prepared {
    One { encoding: Encoding, truncated: bool },
    Windows(TokenizedText),
}

impl Prepared {
    /// The windows, which are made as they are asked for; `None` if there is one sequence.
    fn windows(&self, options: &WindowOptions) -> Result<Option<Windows<'_>>> {
        match self {
            Prepared::One { .. } => Ok(None),
            Prepared::Windows(text) => text.windows(options).map(Some),
        }
    }
}

impl TextClassification {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// As [`TextClassificationOptions::open`].
    pub fn open(source: &str) -> Result<Self> {
        TextClassificationOptions::new().open(source)
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

    /// Labels of a text.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a text without words; [`ErrorKind::TooLong`] with [`LongText::Refuse`].
    pub fn classify(&self, text: &str) -> Result<Classification> {
        self.one(self.prepare(text, None)?)
    }

    /// Labels of a pair of texts, such as a premise and a hypothesis.
    ///
    /// # Errors
    /// As [`TextClassification::classify`]; a pair that does not fit cannot be cut into windows, so it is
    /// [`ErrorKind::TooLong`] unless truncation is allowed.
    pub fn classify_pair(&self, first: &str, second: &str) -> Result<Classification> {
        self.one(self.prepare(first, Some(second))?)
    }

    /// Labels of each text, computed in batches. No result depends on the others.
    ///
    /// # Errors
    /// As [`TextClassification::classify`], for the first text that fails.
    pub fn classify_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Classification>> {
        let prepare =
            |(i, text): (usize, &T)| self.prepare(text.as_ref(), None).context(|| format!("text {}", i + 1));
        self.score(texts.iter().enumerate().map(prepare).collect::<Result<Vec<_>>>()?)
    }

    /// Labels of each pair, computed in batches.
    ///
    /// # Errors
    /// As [`TextClassification::classify_pair`], for the first pair that fails.
    pub fn classify_pair_batch<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
    ) -> Result<Vec<Classification>> {
        let prepare = |(i, (a, b)): (usize, &(A, B))| {
            self.prepare(a.as_ref(), Some(b.as_ref())).context(|| format!("pair {}", i + 1))
        };
        self.score(pairs.iter().enumerate().map(prepare).collect::<Result<Vec<_>>>()?)
    }

    fn one(&self, prepared: Prepared) -> Result<Classification> {
        let mut results = self.score(vec![prepared])?;
        results.pop().ok_or_else(|| ErrorKind::EmptyText { what: "text" }.into())
    }

    fn prepare(&self, text: &str, second: Option<&str>) -> Result<Prepared> {
        let text = self.runner.tokenize(text, "text")?;
        let second = second.map(|s| self.runner.tokenize(s, "second text")).transpose()?;
        let limit = self.windows.max_seq_len;
        let special = if second.is_some() { Encoding::SPECIAL_PAIR } else { Encoding::SPECIAL_SINGLE };
        let length = text.len() + second.as_ref().map_or(0, TokenizedText::len) + special;
        let too_long = |hint| Err(ErrorKind::TooLong { what: "text", found: length, limit, hint }.into());

        match self.options.long_text {
            LongText::Refuse if length > limit => too_long("shorten it, or choose truncation or windows"),
            LongText::WindowsMean | LongText::WindowsMax if second.is_none() => Ok(Prepared::Windows(text)),
            LongText::WindowsMean | LongText::WindowsMax if length > limit => {
                too_long("a pair is not cut into windows; shorten it or choose truncation")
            }
            _ => {
                let (encoding, truncated) = text.encode_truncated(second.as_ref(), limit)?;
                Ok(Prepared::One { encoding, truncated })
            }
        }
    }

    fn score(&self, prepared: Vec<Prepared>) -> Result<Vec<Classification>> {
        let windows = prepared.iter().map(|p| p.windows(&self.windows)).collect::<Result<Vec<_>>>()?;
        let counts: Vec<usize> =
            windows.iter().map(|w| w.as_ref().map_or(1, ExactSizeIterator::len)).collect();
        let sequences = prepared.iter().zip(windows).flat_map(|(prepared, windows)| {
            let one = match prepared {
                Prepared::One { encoding, .. } => Some(Cow::Borrowed(encoding)),
                Prepared::Windows(_) => None,
            };
            let windows = windows.into_iter().flatten();
            one.into_iter().chain(windows.map(|window| Cow::Owned(window.into_encoding())))
        });
        let mut logits = Vec::new();
        self.runner.run(sequences, |_, row, _| logits.push(row.to_vec()))?;
        let mut rows = logits.into_iter();
        let results = prepared.iter().zip(counts).map(|(prepared, count)| {
            let of_text: Vec<Vec<f32>> = rows.by_ref().take(count).collect();
            let truncated = matches!(prepared, Prepared::One { truncated: true, .. });
            Classification { labels: self.labels(&self.pool(&of_text)), truncated }
        });
        Ok(results.collect())
    }

    fn pool(&self, windows: &[Vec<f32>]) -> Vec<f32> {
        let labels = self.runner.engine.config().labels.len();
        let column = |label: usize| windows.iter().map(move |row| row[label]);
        let pooled = |label| match self.options.long_text {
            LongText::WindowsMax => column(label).fold(f32::NEG_INFINITY, f32::max),
            _ => column(label).sum::<f32>() / windows.len() as f32,
        };
        (0..labels).map(pooled).collect()
    }

    fn labels(&self, logits: &[f32]) -> Vec<LabelScore> {
        let config = self.runner.engine.config();
        let scores = self.options.function_to_apply.apply(logits, config.problem_type);
        let wanted = |label: &String| self.options.labels.is_empty() || self.options.labels.contains(label);
        let ranked = top_k(&scores, scores.len()).into_iter();
        ranked
            .filter(|&i| self.options.threshold.is_none_or(|least| scores[i] >= least))
            .map(|i| LabelScore { label: config.labels[i].clone(), score: scores[i] })
            .filter(|best| wanted(&best.label))
            .take(self.options.top_k)
            .collect()
    }
}
