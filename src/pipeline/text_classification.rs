//! Labels for texts and pairs of texts.

use serde::{Deserialize, Serialize};

use super::job::{Arrivals, Job};
use super::model::{Model, ModelOptions};
use super::pass::Sequence;
use super::runner::prepare_all;
use super::scores::{FunctionToApply, top_k};
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Source;
use crate::text::{Encoding, TokenizedText, Tokenizer, WindowOptions};

const TASK: &str = "text classification";

/// The treatment of a text that is longer than the model allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LongText {
    /// The beginning is classified, and the result says so: [`Classification::truncated`].
    #[default]
    Truncate,
    /// Overlapping windows are classified and the mean of their logits is scored.
    WindowsMean,
    /// Overlapping windows are classified and each label's largest logit is scored.
    WindowsMax,
    /// The call fails with [`ErrorKind::TooLong`].
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

/// The options for turning logits into labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClassifyOptions {
    /// The largest number of labels, of which the best are kept; `usize::MAX` for all. Default: 1.
    pub top_k: usize,
    /// The lowest score of a label that is reported. Default: there is none.
    pub threshold: Option<f32>,
    /// The function that turns logits into scores. Default: the one that fits the model's `problem_type`.
    pub function_to_apply: FunctionToApply,
    /// The treatment of texts that are longer than the model allows. Default: they are cut.
    pub long_text: LongText,
    /// The longest sequence in tokens. Default: the model's limit.
    pub max_seq_len: Option<usize>,
    /// The number of tokens that neighbouring windows share. Default: 128, or half of `max_seq_len` if that
    /// is less.
    pub doc_stride: Option<usize>,
    /// The only labels to report. They still compete with the others for a softmax. Default: all.
    pub labels: Vec<String>,
}

impl Default for ClassifyOptions {
    fn default() -> Self {
        Self {
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

impl ClassifyOptions {
    fn windows(&self, model: &Model) -> Result<WindowOptions> {
        if self.top_k == 0 {
            return Err(Error::option("top_k", "at least 1", self.top_k));
        }
        if let Some(threshold) = self.threshold.filter(|threshold| threshold.is_nan()) {
            return Err(Error::option("threshold", "a number", threshold));
        }
        let known = &model.config().labels;
        if let Some(unknown) = self.labels.iter().find(|label| !known.contains(label)) {
            return Err(Error::option("labels", format!("some of {}", known.join(", ")), unknown));
        }
        let windows = model.windows(self.max_seq_len, usize::MAX, self.doc_stride)?;
        match self.long_text {
            LongText::WindowsMean | LongText::WindowsMax => windows.check(Encoding::SPECIAL_SINGLE)?,
            LongText::Truncate | LongText::Refuse => {
                windows.room(Encoding::SPECIAL_SINGLE)?;
            }
        }
        Ok(windows)
    }
}

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LabelScore {
    /// The label's name in the model's `id2label`.
    pub label: String,
    /// The score that [`FunctionToApply`] gives.
    pub score: f32,
}

/// The labels of one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Classification {
    /// The labels, best first. The list is empty if none reached the threshold.
    pub labels: Vec<LabelScore>,
    /// True if the end of the text was not read because it did not fit the model.
    pub truncated: bool,
}

impl Classification {
    /// Returns the best label, if one reached the threshold.
    pub fn best(&self) -> Option<&LabelScore> {
        self.labels.first()
    }
}

/// A pipeline that classifies texts.
///
/// ```
/// # fn main() -> mobilebert::Result<()> {
/// let sentiment = mobilebert::TextClassification::open("sentiment")?;
/// let result = sentiment.classify("a joy to watch")?;
/// assert_eq!(result.best().map(|best| best.label.as_str()), Some("positive"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TextClassification {
    model: Model,
    options: ClassifyOptions,
}

impl TextClassification {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// The errors of [`TextClassification::open_with`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_with(source, ModelOptions::new(), ClassifyOptions::default())
    }

    /// Opens a model. Calls that bring no options of their own use `options`.
    ///
    /// # Errors
    /// The errors of [`Model::open`]; [`ErrorKind::WrongTask`] if the model has another head;
    /// [`ErrorKind::Option`] for a value out of range or a label that the model does not have.
    pub fn open_with(
        source: impl Into<Source>,
        model: impl Into<ModelOptions>,
        options: ClassifyOptions,
    ) -> Result<Self> {
        let model = Model::open_for(source, Head::SequenceClassification, TASK, model)?;
        Self::from_parts(model, options)
    }

    /// Makes a pipeline over a model that is already loaded. This costs nothing, because clones of a
    /// [`Model`] share its weights.
    ///
    /// # Errors
    /// [`ErrorKind::WrongTask`] if the model has another head; [`ErrorKind::Option`] for a value out of range
    /// or a label that the model does not have.
    pub fn from_parts(model: Model, options: ClassifyOptions) -> Result<Self> {
        model.check_loaded(Head::SequenceClassification, TASK)?;
        options.windows(&model)?;
        Ok(Self { model, options })
    }

    /// Returns the model below, which other pipelines may share.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the options of calls that bring none.
    pub fn options(&self) -> &ClassifyOptions {
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

    /// Labels a text.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a text without words; [`ErrorKind::TooLong`] with [`LongText::Refuse`].
    pub fn classify(&self, text: &str) -> Result<Classification> {
        self.classify_with(text, &self.options)
    }

    /// Does what [`TextClassification::classify`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify`], and [`ErrorKind::Option`] for a value out of range.
    pub fn classify_with(&self, text: &str, options: &ClassifyOptions) -> Result<Classification> {
        self.model.run_one(self.prepare_classify(text, options)?, &mut super::RunControl::default())
    }

    /// Labels a pair of texts, such as a premise and a hypothesis.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify`]. A pair that does not fit cannot be cut into windows,
    /// so it is [`ErrorKind::TooLong`] unless truncation is allowed.
    pub fn classify_pair(&self, first: &str, second: &str) -> Result<Classification> {
        self.classify_pair_with(first, second, &self.options)
    }

    /// Does what [`TextClassification::classify_pair`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_pair`], and [`ErrorKind::Option`] for a value out of
    /// range.
    pub fn classify_pair_with(
        &self,
        first: &str,
        second: &str,
        options: &ClassifyOptions,
    ) -> Result<Classification> {
        let job = self.prepare_classify_pair(first, second, options)?;
        self.model.run_one(job, &mut super::RunControl::default())
    }

    /// Labels each text, in batches. No result depends on the other texts.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify`], for the first text that fails. [`Model::run`] gives
    /// each text a result of its own.
    pub fn classify_batch<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Classification>> {
        self.classify_batch_with(texts, &self.options)
    }

    /// Does what [`TextClassification::classify_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_with`], for the first text that fails.
    pub fn classify_batch_with<T: AsRef<str>>(
        &self,
        texts: &[T],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        const UNIT: &str = "text";
        let prepare = |text: &T| self.prepare_classify(text.as_ref(), options);
        self.model.run_all(prepare_all(texts, UNIT, prepare)?, UNIT)
    }

    /// Labels each pair, in batches.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_pair`], for the first pair that fails.
    pub fn classify_pair_batch<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
    ) -> Result<Vec<Classification>> {
        self.classify_pair_batch_with(pairs, &self.options)
    }

    /// Does what [`TextClassification::classify_pair_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_pair_with`], for the first pair that fails.
    pub fn classify_pair_batch_with<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
        options: &ClassifyOptions,
    ) -> Result<Vec<Classification>> {
        const UNIT: &str = "pair";
        let prepare = |(a, b): &(A, B)| self.prepare_classify_pair(a.as_ref(), b.as_ref(), options);
        self.model.run_all(prepare_all(pairs, UNIT, prepare)?, UNIT)
    }

    /// Makes a job that labels a text.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_with`].
    pub fn prepare_classify(&self, text: &str, options: &ClassifyOptions) -> Result<ClassifyJob> {
        self.job(text, None, options)
    }

    /// Makes a job that labels a pair of texts.
    ///
    /// # Errors
    /// The errors of [`TextClassification::classify_pair_with`].
    pub fn prepare_classify_pair(
        &self,
        first: &str,
        second: &str,
        options: &ClassifyOptions,
    ) -> Result<ClassifyJob> {
        self.job(first, Some(second), options)
    }

    fn job(&self, text: &str, second: Option<&str>, options: &ClassifyOptions) -> Result<ClassifyJob> {
        let windows = options.windows(&self.model)?;
        let text = self.model.tokenize(text, "text")?;
        let second = second.map(|s| self.model.tokenize(s, "second text")).transpose()?;
        let limit = windows.max_seq_len;
        let special = if second.is_some() { Encoding::SPECIAL_PAIR } else { Encoding::SPECIAL_SINGLE };
        let length = text.len() + second.as_ref().map_or(0, TokenizedText::len) + special;
        let too_long = |hint| Err(ErrorKind::TooLong { what: "text", found: length, limit, hint }.into());

        let (prepared, count) = match options.long_text {
            LongText::Refuse if length > limit => {
                return too_long("shorten it, or choose truncation or windows");
            }
            LongText::WindowsMean | LongText::WindowsMax if second.is_none() => {
                let count = text.windows(&windows)?.len();
                (Prepared::Windows { text, windows }, count)
            }
            LongText::WindowsMean | LongText::WindowsMax if length > limit => {
                return too_long("a pair is not cut into windows; shorten it or choose truncation");
            }
            _ => {
                let (encoding, truncated) = text.encode_truncated(second.as_ref(), limit)?;
                (Prepared::One { encoding, truncated }, 1)
            }
        };
        let (model, options) = (self.model.clone(), options.clone());
        Ok(ClassifyJob { model, options, prepared, pooled: Vec::new(), arrivals: Arrivals::new(count) })
    }
}

/// The sequences that one text becomes.
#[derive(Debug)]
enum Prepared {
    One { encoding: Encoding, truncated: bool },
    Windows { text: TokenizedText, windows: WindowOptions },
}

/// The job that labels one text; see [`TextClassification::prepare_classify`].
#[derive(Debug)]
pub struct ClassifyJob {
    model: Model,
    options: ClassifyOptions,
    prepared: Prepared,
    /// The sums or the maxima of the logits of the windows so far.
    pooled: Vec<f32>,
    arrivals: Arrivals,
}

impl Job for ClassifyJob {
    type Output = Classification;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        let encoding = match &self.prepared {
            Prepared::One { encoding, .. } => (index == 0).then(|| encoding.clone()),
            Prepared::Windows { text, windows } => {
                text.windows(windows).ok()?.get(index).map(|window| window.into_encoding())
            }
        };
        encoding.map(Sequence::new)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let (pooled, rule) = (&mut self.pooled, self.options.long_text);
        self.arrivals.accept(index, rows, (1, self.model.config().labels.len()), |index, row| match rule {
            _ if index == 0 => *pooled = row.to_vec(),
            LongText::WindowsMax => pooled.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x)),
            _ => pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += x),
        })
    }

    fn finish(&mut self) -> Result<Classification> {
        self.arrivals.finish()?;
        if self.options.long_text != LongText::WindowsMax {
            let count = self.arrivals.count() as f32;
            self.pooled.iter_mut().for_each(|sum| *sum /= count);
        }
        let truncated = matches!(self.prepared, Prepared::One { truncated: true, .. });
        Ok(Classification { labels: self.labels(), truncated })
    }
}

impl ClassifyJob {
    fn labels(&self) -> Vec<LabelScore> {
        let (config, options) = (self.model.config(), &self.options);
        let scores = options.function_to_apply.apply(&self.pooled, config.problem_type);
        let wanted = |label: &String| options.labels.is_empty() || options.labels.contains(label);
        let ranked = top_k(&scores, scores.len()).into_iter();
        ranked
            .filter(|&i| options.threshold.is_none_or(|least| scores[i] >= least))
            .map(|i| LabelScore { label: config.labels[i].clone(), score: scores[i] })
            .filter(|best| wanted(&best.label))
            .take(options.top_k)
            .collect()
    }
}
