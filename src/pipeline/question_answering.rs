//! Extractive question answering over contexts of any length.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::answer_job::{AnswerJob, RankJob};
use super::model::{Model, ModelOptions};
use super::runner::prepare_all;
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::source::Source;
use crate::text::{Encoding, TextTokens, Tokenizer, WindowOptions};

const TASK: &str = "question answering";

/// The options for the search for answers. Names and defaults are those of Hugging Face's pipeline, but for
/// `max_answer_len`, which is SQuAD's 30.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnswerOptions {
    /// The largest number of answers. [`QuestionAnswering::answer`] always gives one. Default: 1.
    pub top_k: usize,
    /// The number of tokens that neighbouring windows share (Hugging Face's meaning, see [`WindowOptions`]).
    /// Default: 128, or half of `max_seq_len` if that is less.
    pub doc_stride: Option<usize>,
    /// The longest sequence of question, window of the context and special tokens. Default: 384 or the
    /// model's limit.
    pub max_seq_len: Option<usize>,
    /// The longest question in tokens. A longer one is an error. Default: 64.
    pub max_question_len: usize,
    /// The longest answer in tokens. Default: 30.
    pub max_answer_len: usize,
    /// True if "the context does not say" may be an answer, which is an empty one at 0..0. It is meant for
    /// models trained on SQuAD 2.0. Default: `false`.
    pub handle_impossible_answer: bool,
    /// The null odds (see [`Ranking::null_odds`]) above which "the context does not say" comes before all
    /// answers, with `handle_impossible_answer`. A higher number gives more answers. With
    /// `merge_equal_texts`, an answer counts with the sum of its places, so it can stay first although the
    /// odds of its best place are above the threshold. Default: the model's `null_threshold` in its
    /// `config.json`, or 0.
    pub null_threshold: Option<f32>,
    /// True if places of the context with the same text are one answer. Their scores are summed, and
    /// [`Answer::others`] lists all places but the best. Texts are the same if they differ in nothing but
    /// case and white space. Without this, a fact that the context repeats splits its score among its places.
    /// Default: `true`.
    pub merge_equal_texts: bool,
    /// True if the score of `[CLS]` joins the sums that scores are normalised by, as in `transformers`.
    /// Without it, scores are shares among the places of the context: in a context of one token that token
    /// has score 1, however little it answers the question. With it, the model's "no answer" competes for the
    /// score without being an answer itself. Default: `false`, unless `handle_impossible_answer` is set.
    pub null_competes: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top_k: 1,
            doc_stride: None,
            max_seq_len: None,
            max_question_len: 64,
            max_answer_len: 30,
            handle_impossible_answer: false,
            null_threshold: None,
            merge_equal_texts: true,
            null_competes: false,
        }
    }
}

impl AnswerOptions {
    fn windows(&self, model: &Model) -> Result<WindowOptions> {
        for (name, value) in [("top_k", self.top_k), ("max_answer_len", self.max_answer_len)] {
            if value == 0 {
                return Err(Error::option(name, "at least 1", value));
            }
        }
        if let Some(odds) = self.null_threshold.filter(|odds| odds.is_nan()) {
            return Err(Error::option("null_threshold", "a number", odds));
        }
        const DEFAULT_MAX_SEQ_LEN: usize = 384;
        let windows = model.windows(self.max_seq_len, DEFAULT_MAX_SEQ_LEN, self.doc_stride)?;
        let windows = windows.max_question_len(self.max_question_len);
        // A question has at least one token.
        windows.check(Encoding::SPECIAL_PAIR + 1)?;
        Ok(windows)
    }
}

/// An answer: a piece of the context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The probability of its first token times the probability of its last one. Each is normalised over all
    /// windows of the context, so scores can be compared within a context of any length. An answer that
    /// stands in several places has the sum of their scores. The score is a share among the context's places
    /// and not a probability that the answer is right: the only token of a context has score 1; see
    /// [`AnswerOptions::null_competes`].
    pub score: f32,
    /// The first byte in the context.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
    /// The text `context[start..end]`, which is empty if the context does not say.
    pub answer: String,
    /// The other places with the same text, best first; see [`AnswerOptions::merge_equal_texts`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<AnswerPlace>,
}

/// One more place of an answer in the context.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AnswerPlace {
    /// This place's part of the answer's score.
    pub score: f32,
    /// The first byte in the context.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A context that was tokenised once, for any number of questions; see [`QuestionAnswering::prepare`]. Clones
/// share it.
#[derive(Debug, Clone)]
pub struct PreparedContext {
    pub(super) text: Arc<str>,
    pub(super) tokens: Arc<TextTokens>,
}

impl PreparedContext {
    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A pipeline that finds answers in a context.
///
/// ```
/// # fn main() -> mobilebert::Result<()> {
/// let qa = mobilebert::QuestionAnswering::open("qa")?;
/// let context = "The engine was built by Ada in London.";
/// let answer = qa.answer("Who built the engine?", context)?;
/// assert_eq!(answer.answer, "Ada");
/// assert_eq!(&context[answer.start..answer.end], answer.answer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct QuestionAnswering {
    model: Model,
    options: AnswerOptions,
}

impl QuestionAnswering {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::open_with`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        Self::open_with(source, ModelOptions::new(), AnswerOptions::default())
    }

    /// Opens a model. Calls that bring no options of their own use `options`.
    ///
    /// # Errors
    /// The errors of [`Model::open`]; [`ErrorKind::WrongTask`] if the model has another head;
    /// [`ErrorKind::Option`] for a value out of range.
    pub fn open_with(
        source: impl Into<Source>,
        model: impl Into<ModelOptions>,
        options: AnswerOptions,
    ) -> Result<Self> {
        let model = Model::open_for(source, Head::QuestionAnswering, TASK, model)?;
        Self::from_parts(model, options)
    }

    /// Makes a pipeline over a model that is already loaded. This costs nothing, because clones of a
    /// [`Model`] share its weights.
    ///
    /// # Errors
    /// [`ErrorKind::WrongTask`] if the model has another head; [`ErrorKind::Option`] for a value out of
    /// range.
    pub fn from_parts(model: Model, options: AnswerOptions) -> Result<Self> {
        model.check_loaded(Head::QuestionAnswering, TASK)?;
        options.windows(&model)?;
        Ok(Self { model, options })
    }

    /// Returns the model below, which other pipelines may share.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the options of calls that bring none.
    pub fn options(&self) -> &AnswerOptions {
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

    /// Finds the best answer.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a question or context without words, [`ErrorKind::TooLong`] for a
    /// question beyond `max_question_len`.
    pub fn answer(&self, question: &str, context: &str) -> Result<Answer> {
        self.answer_with(question, context, &self.options)
    }

    /// Does what [`QuestionAnswering::answer`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`], and [`ErrorKind::Option`] for a value out of range.
    pub fn answer_with(&self, question: &str, context: &str, options: &AnswerOptions) -> Result<Answer> {
        let best = self.answers_with(question, context, &AnswerOptions { top_k: 1, ..options.clone() })?;
        best.into_iter().next().ok_or_else(|| ErrorKind::EmptyText { what: "context" }.into())
    }

    /// Finds the best `top_k` answers, best first. No two of them are the same place or, by default, the same
    /// text.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`].
    pub fn answers(&self, question: &str, context: &str) -> Result<Vec<Answer>> {
        self.answers_with(question, context, &self.options)
    }

    /// Does what [`QuestionAnswering::answers`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`].
    pub fn answers_with(
        &self,
        question: &str,
        context: &str,
        options: &AnswerOptions,
    ) -> Result<Vec<Answer>> {
        self.answers_in_with(question, &self.prepare(context)?, options)
    }

    /// Tokenises a context whose questions come one by one. The tokens of a long context, of more than a
    /// megabyte, are counted and made again when they are needed, so it takes little more memory than its
    /// text. This needs a tokenizer under which a text is known to have the same tokens piece by piece: one
    /// with BERT's normalisation and splitting, without `never_split`, and without added tokens that strip
    /// white space. With other tokenizers all tokens are kept, which take about six times the text's memory.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a context without words.
    pub fn prepare(&self, context: impl Into<Arc<str>>) -> Result<PreparedContext> {
        let text = context.into();
        let tokens = self.model.read(&text, "context")?.into();
        Ok(PreparedContext { text, tokens })
    }

    /// Finds the best `top_k` answers in a context that this pipeline prepared.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`], for the question.
    pub fn answers_in(&self, question: &str, context: &PreparedContext) -> Result<Vec<Answer>> {
        self.answers_in_with(question, context, &self.options)
    }

    /// Does what [`QuestionAnswering::answers_in`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the question.
    pub fn answers_in_with(
        &self,
        question: &str,
        context: &PreparedContext,
        options: &AnswerOptions,
    ) -> Result<Vec<Answer>> {
        let job = self.prepare_answer(question, context, options)?;
        self.model.run_one(job, &mut super::RunControl::default())
    }

    /// Finds the best `top_k` answers to each of several questions on one context, which is tokenised once.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`], for the first question that fails.
    pub fn answer_many<Q: AsRef<str>>(&self, questions: &[Q], context: &str) -> Result<Vec<Vec<Answer>>> {
        self.answer_many_with(questions, context, &self.options)
    }

    /// Does what [`QuestionAnswering::answer_many`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the first question that fails.
    pub fn answer_many_with<Q: AsRef<str>>(
        &self,
        questions: &[Q],
        context: &str,
        options: &AnswerOptions,
    ) -> Result<Vec<Vec<Answer>>> {
        const UNIT: &str = "question";
        let context = self.prepare(context)?;
        let prepare = |question: &Q| self.prepare_answer(question.as_ref(), &context, options);
        self.model.run_all(prepare_all(questions, UNIT, prepare)?, UNIT)
    }

    /// Finds the best `top_k` answers for each pair of question and context. Pairs share forward passes, so
    /// many at once are faster, but no answer depends on the other pairs.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`], for the first pair that fails.
    pub fn answer_batch<Q: AsRef<str>, C: AsRef<str>>(&self, pairs: &[(Q, C)]) -> Result<Vec<Vec<Answer>>> {
        self.answer_batch_with(pairs, &self.options)
    }

    /// Does what [`QuestionAnswering::answer_batch`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the first pair that fails.
    pub fn answer_batch_with<Q: AsRef<str>, C: AsRef<str>>(
        &self,
        pairs: &[(Q, C)],
        options: &AnswerOptions,
    ) -> Result<Vec<Vec<Answer>>> {
        const UNIT: &str = "pair";
        let prepare = |(question, context): &(Q, C)| {
            self.prepare_answer(question.as_ref(), &self.prepare(context.as_ref())?, options)
        };
        self.model.run_all(prepare_all(pairs, UNIT, prepare)?, UNIT)
    }

    /// Finds the data for n-best and null-odds files: for each pair the best `top_k` places with their
    /// logits, and how likely it is that the context does not say. Every place is an answer of its own, as in
    /// the official scripts, whatever [`AnswerOptions::merge_equal_texts`] says. Pairs share forward passes,
    /// so many at once are faster.
    ///
    /// ```
    /// # fn main() -> mobilebert::Result<()> {
    /// let qa = mobilebert::QuestionAnswering::open("qa")?;
    /// let context = qa.prepare("The engine was built by Ada in London.")?;
    /// let rankings = qa.rank(&[("Who built the engine?", &context), ("Where?", &context)])?;
    /// assert_eq!(rankings[0].answers[0].answer.answer, "Ada");
    /// assert!(rankings[0].null_odds() < 0.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer`], for the first pair that fails.
    pub fn rank<Q: AsRef<str>>(&self, pairs: &[(Q, &PreparedContext)]) -> Result<Vec<Ranking>> {
        self.rank_with(pairs, &self.options)
    }

    /// Does what [`QuestionAnswering::rank`] does, with the options of this call.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the first pair that fails.
    pub fn rank_with<Q: AsRef<str>>(
        &self,
        pairs: &[(Q, &PreparedContext)],
        options: &AnswerOptions,
    ) -> Result<Vec<Ranking>> {
        const UNIT: &str = "pair";
        let prepare = |(question, context): &(Q, &PreparedContext)| {
            self.prepare_rank(question.as_ref(), context, options)
        };
        self.model.run_all(prepare_all(pairs, UNIT, prepare)?, UNIT)
    }

    /// Makes a job that finds the best `top_k` answers in a context that this pipeline prepared.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the question.
    pub fn prepare_answer(
        &self,
        question: &str,
        context: &PreparedContext,
        options: &AnswerOptions,
    ) -> Result<AnswerJob> {
        let windows = options.windows(&self.model)?;
        let question = self.model.tokenize(question, "question")?;
        let null_threshold = self.model.config().null_threshold.unwrap_or(0.0);
        AnswerJob::new(question, context.clone(), windows, options, null_threshold)
    }

    /// Makes a job that ranks places as [`QuestionAnswering::rank`] does.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::prepare_answer`].
    pub fn prepare_rank(
        &self,
        question: &str,
        context: &PreparedContext,
        options: &AnswerOptions,
    ) -> Result<RankJob> {
        Ok(RankJob(self.prepare_answer(question, context, options)?.by_place()))
    }
}

/// An answer and the logits behind its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RankedAnswer {
    /// The answer, which is never the empty one.
    #[serde(flatten)]
    pub answer: Answer,
    /// The logit of its first token as a start.
    pub start_logit: f32,
    /// The logit of its last token as an end.
    pub end_logit: f32,
}

/// The result of a search for one question; see [`QuestionAnswering::rank`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ranking {
    /// The places, best first.
    pub answers: Vec<RankedAnswer>,
    /// The sum of the start and end logit of `[CLS]` in the window where it is least. This is the score of
    /// "the context does not say".
    pub null_logit: f32,
}

impl Ranking {
    /// Returns the score of "the context does not say" less that of the best answer. These are SQuAD's null
    /// odds, which grow with the certainty that there is no answer.
    pub fn null_odds(&self) -> f32 {
        self.null_logit
            - self.answers.first().map_or(f32::NEG_INFINITY, |best| best.start_logit + best.end_logit)
    }
}
