//! Extractive question answering over contexts of any length.

use std::collections::HashSet;

use serde::Serialize;

use super::exp::exp;
use super::runner::Runner;
use super::scores::best_first;
use crate::config::Head;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::text::{Encoding, Span, TokenizedText, Tokenizer, Window, WindowOptions};

/// How answers are searched. Names and defaults are those of Hugging Face's pipeline, but for `max_answer_len`, which is
/// SQuAD's 30.
#[derive(Debug, Clone)]
#[must_use]
pub struct QuestionAnsweringOptions {
    engine: EngineOptions,
    top_k: usize,
    doc_stride: Option<usize>,
    max_seq_len: Option<usize>,
    max_question_len: usize,
    max_answer_len: usize,
    handle_impossible_answer: bool,
    special_tokens_in_text: bool,
}

impl Default for QuestionAnsweringOptions {
    fn default() -> Self {
        Self {
            engine: EngineOptions::new(),
            top_k: 1,
            doc_stride: None,
            max_seq_len: None,
            max_question_len: 64,
            max_answer_len: 30,
            handle_impossible_answer: false,
            special_tokens_in_text: true,
        }
    }
}

impl QuestionAnsweringOptions {
    /// One answer, windows of 384 tokens that share 128.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the model is run.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }

    /// Number of answers that [`QuestionAnswering::answers`] returns at most.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// Tokens that neighbouring windows share (Hugging Face's meaning, see [`WindowOptions`]). Default: 128, or half of
    /// `max_seq_len` if that is less.
    pub fn doc_stride(mut self, tokens: usize) -> Self {
        self.doc_stride = Some(tokens);
        self
    }

    /// Longest sequence: question, window of the context and special tokens. Default: 384 or the model's limit.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// A longer question is an error.
    pub fn max_question_len(mut self, tokens: usize) -> Self {
        self.max_question_len = tokens;
        self
    }

    /// Longest answer in tokens.
    pub fn max_answer_len(mut self, tokens: usize) -> Self {
        self.max_answer_len = tokens;
        self
    }

    /// Whether "the context does not say" may be an answer: an empty one at 0..0 (models trained on SQuAD 2.0).
    pub fn handle_impossible_answer(mut self, allowed: bool) -> Self {
        self.handle_impossible_answer = allowed;
        self
    }

    /// Whether `[SEP]` and the like in the user's text are special tokens, as in `transformers`; see
    /// [`Tokenizer::special_tokens_in_text`].
    pub fn special_tokens_in_text(mut self, matched: bool) -> Self {
        self.special_tokens_in_text = matched;
        self
    }

    /// Opens a model; see [`crate::ModelFiles::resolve`] for `source`.
    ///
    /// # Errors
    /// Those of [`Engine::open`]; [`ErrorKind::WrongTask`] if the model has another head; [`ErrorKind::Option`] for a
    /// value out of range.
    pub fn open(self, source: &str) -> Result<QuestionAnswering> {
        for (name, value) in [("top_k", self.top_k), ("max_answer_len", self.max_answer_len)] {
            if value == 0 {
                return Err(Error::option(name, "at least 1", value));
            }
        }
        let matched = self.special_tokens_in_text;
        let runner = Runner::open(
            source,
            Head::QuestionAnswering,
            "question answering",
            |tokenizer| tokenizer.special_tokens_in_text(matched),
            self.engine.clone(),
        )?;
        const DEFAULT_MAX_SEQ_LEN: usize = 384;
        let max_seq_len = runner.max_seq_len(self.max_seq_len, DEFAULT_MAX_SEQ_LEN)?;
        let mut windows = WindowOptions::new(max_seq_len).max_question_len(self.max_question_len);
        if let Some(tokens) = self.doc_stride {
            windows = windows.doc_stride(tokens);
        }
        // A question has one token at least.
        windows.check(Encoding::SPECIAL_PAIR + 1)?;
        Ok(QuestionAnswering { runner, windows, options: self })
    }
}

/// An answer: a piece of the context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// Probability of its first token times probability of its last one, each normalised over all windows of the
    /// context, so scores compare within a context of any length.
    pub score: f32,
    /// First byte in the context.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// `context[start..end]`; empty if the context does not say.
    pub answer: String,
}

/// A context that was tokenised once, for any number of questions; see [`QuestionAnswering::prepare`].
#[derive(Debug, Clone)]
pub struct PreparedContext<'c> {
    text: &'c str,
    tokens: TokenizedText,
}

/// Finds answers in a context.
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
#[derive(Debug)]
pub struct QuestionAnswering {
    runner: Runner,
    windows: WindowOptions,
    options: QuestionAnsweringOptions,
}

impl QuestionAnswering {
    /// Opens a model with default options.
    ///
    /// # Errors
    /// As [`QuestionAnsweringOptions::open`].
    pub fn open(source: &str) -> Result<Self> {
        QuestionAnsweringOptions::new().open(source)
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

    /// The best answer.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a question or context without words, [`ErrorKind::TooLong`] for a question beyond
    /// `max_question_len`.
    pub fn answer(&self, question: &str, context: &str) -> Result<Answer> {
        let best = self.search(question, context, &self.tokenize_context(context)?, 1)?;
        best.into_iter().next().ok_or_else(|| ErrorKind::EmptyText { what: "context" }.into())
    }

    /// The best `top_k` answers, best first, no two of them the same place.
    ///
    /// # Errors
    /// As [`QuestionAnswering::answer`].
    pub fn answers(&self, question: &str, context: &str) -> Result<Vec<Answer>> {
        self.search(question, context, &self.tokenize_context(context)?, self.options.top_k)
    }

    /// Tokenises a context whose questions come one by one.
    ///
    /// # Errors
    /// [`ErrorKind::EmptyText`] for a context without words.
    pub fn prepare<'c>(&self, context: &'c str) -> Result<PreparedContext<'c>> {
        Ok(PreparedContext { text: context, tokens: self.tokenize_context(context)? })
    }

    /// The best `top_k` answers in a context that this pipeline prepared.
    ///
    /// # Errors
    /// As [`QuestionAnswering::answer`], for the question.
    pub fn answers_in(&self, question: &str, context: &PreparedContext<'_>) -> Result<Vec<Answer>> {
        self.search(question, context.text, &context.tokens, self.options.top_k)
    }

    /// Several questions on one context, which is tokenised once: the best `top_k` answers to each.
    ///
    /// # Errors
    /// As [`QuestionAnswering::answer`], for the first question that fails.
    pub fn answer_many<Q: AsRef<str>>(&self, questions: &[Q], context: &str) -> Result<Vec<Vec<Answer>>> {
        let context = self.prepare(context)?;
        let pairs: Vec<(&str, &PreparedContext<'_>)> =
            questions.iter().map(|q| (q.as_ref(), &context)).collect();
        let searches = self.search_all(&pairs, self.options.top_k, "question")?;
        Ok(searches.into_iter().map(|search| self.finish(search, &context)).collect())
    }

    /// Pairs of question and context: the best `top_k` answers to each.
    ///
    /// # Errors
    /// As [`QuestionAnswering::answer`], for the first pair that fails.
    pub fn answer_batch<Q: AsRef<str>, C: AsRef<str>>(&self, pairs: &[(Q, C)]) -> Result<Vec<Vec<Answer>>> {
        let each = pairs.iter().enumerate().map(|(i, (question, context))| {
            self.answers(question.as_ref(), context.as_ref()).context(|| format!("pair {}", i + 1))
        });
        each.collect()
    }

    /// What n-best and null-odds files are made from: for each pair the best `top_k` places with their logits, and how
    /// likely it is that the context does not say. Pairs share forward passes, so many at once are faster.
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
    /// As [`QuestionAnswering::answer`], for the first pair that fails.
    pub fn rank<Q: AsRef<str>>(&self, pairs: &[(Q, &PreparedContext<'_>)]) -> Result<Vec<Ranking>> {
        let searches = self.search_all(pairs, self.options.top_k, "pair")?;
        let ranking =
            |(search, (_, context)): (Search, &(Q, &PreparedContext<'_>))| search.ranking(context.text);
        Ok(searches.into_iter().zip(pairs).map(ranking).collect())
    }

    fn tokenize_context(&self, context: &str) -> Result<TokenizedText> {
        self.runner.tokenize(context, "context")
    }

    fn search(
        &self,
        question: &str,
        context: &str,
        tokens: &TokenizedText,
        top_k: usize,
    ) -> Result<Vec<Answer>> {
        let question = self.runner.tokenize(question, "question")?;
        let windows = tokens.windows_with_question(&question, &self.windows)?;
        let mut search = Search::new(top_k, self.options.max_answer_len);
        self.runner.run(windows, |window, logits, _| search.add(&window, logits))?;
        let null = self.options.handle_impossible_answer;
        Ok(search.finish(null).into_iter().map(|(score, c)| answer(context, score, c.span)).collect())
    }

    /// One search for each pair; the windows of all share forward passes. `unit` names a pair in errors.
    fn search_all<Q: AsRef<str>>(
        &self,
        pairs: &[(Q, &PreparedContext<'_>)],
        top_k: usize,
        unit: &str,
    ) -> Result<Vec<Search>> {
        let place = |i: usize| move || format!("{unit} {}", i + 1);
        let tokenize = |(i, (question, _)): (usize, &(Q, &PreparedContext<'_>))| {
            self.runner.tokenize(question.as_ref(), "question").context(place(i))
        };
        let questions = pairs.iter().enumerate().map(tokenize).collect::<Result<Vec<_>>>()?;
        let windows = pairs.iter().zip(&questions).enumerate().map(|(i, ((_, context), question))| {
            context.tokens.windows_with_question(question, &self.windows).context(place(i))
        });
        let windows = windows.collect::<Result<Vec<_>>>()?.into_iter().enumerate();
        let windows = windows.flat_map(|(pair, windows)| windows.map(move |window| OfPair { pair, window }));
        let mut searches: Vec<Search> =
            pairs.iter().map(|_| Search::new(top_k, self.options.max_answer_len)).collect();
        self.runner.run(windows, |of, logits, _| searches[of.pair].add(&of.window, logits))?;
        Ok(searches)
    }

    fn finish(&self, search: Search, context: &PreparedContext<'_>) -> Vec<Answer> {
        let found = search.finish(self.options.handle_impossible_answer).into_iter();
        found.map(|(score, c)| answer(context.text, score, c.span)).collect()
    }
}

/// A window and the pair that it belongs to.
struct OfPair {
    pair: usize,
    window: Window,
}

impl AsRef<Encoding> for OfPair {
    fn as_ref(&self) -> &Encoding {
        self.window.encoding()
    }
}

/// An answer and the logits behind its score.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RankedAnswer {
    /// The answer; never the empty one.
    #[serde(flatten)]
    pub answer: Answer,
    /// Logit of its first token as a start.
    pub start_logit: f32,
    /// Logit of its last token as an end.
    pub end_logit: f32,
}

/// What a search for one question found; see [`QuestionAnswering::rank`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ranking {
    /// The best places, best first.
    pub answers: Vec<RankedAnswer>,
    /// Start and end logit of `[CLS]`, summed, in the window where the sum is least: the score of "the context does not
    /// say".
    pub null_logit: f32,
}

impl Ranking {
    /// The score of "the context does not say" less that of the best answer: SQuAD's null odds, which grow with the
    /// certainty that there is no answer.
    pub fn null_odds(&self) -> f32 {
        self.null_logit
            - self.answers.first().map_or(f32::NEG_INFINITY, |best| best.start_logit + best.end_logit)
    }
}

fn answer(context: &str, score: f32, span: Span) -> Answer {
    Answer { score, start: span.start, end: span.end, answer: context[span.range()].to_owned() }
}

/// Collects the best spans and the normalisers over all windows of one context.
struct Search {
    top_k: usize,
    max_answer_len: usize,
    starts: ExpSum,
    ends: ExpSum,
    /// Start and end logit of `[CLS]` in the window where their sum is least: where "no answer" is least likely.
    null: Option<(f32, f32)>,
    spans: Vec<Candidate>,
    /// Once `top_k` places are known: the logit that a further one has to exceed.
    floor: f32,
}

#[derive(Clone, Copy)]
struct Candidate {
    start: f32,
    end: f32,
    span: Span,
}

impl Candidate {
    fn logit(&self) -> f32 {
        self.start + self.end
    }
}

impl Search {
    fn new(top_k: usize, max_answer_len: usize) -> Self {
        Self {
            top_k,
            max_answer_len,
            starts: ExpSum::new(),
            ends: ExpSum::new(),
            null: None,
            spans: Vec::new(),
            floor: f32::NEG_INFINITY,
        }
    }

    /// `logits`: a start and an end logit for each token of the window.
    fn add(&mut self, window: &Window, logits: &[f32]) {
        let positions = window.positions();
        let start = |p: usize| logits[2 * p];
        let end = |p: usize| logits[2 * p + 1];
        for p in positions.clone() {
            self.starts.add(start(p));
            self.ends.add(end(p));
        }
        let null = (start(0), end(0));
        if self.null.is_none_or(|least| null.0 + null.1 < least.0 + least.1) {
            self.null = Some(null);
        }
        let spans = window.encoding().spans();
        for first in positions.clone() {
            for last in first..positions.end.min(first.saturating_add(self.max_answer_len)) {
                let span = Span::new(spans[first].start, spans[last].end.max(spans[first].start));
                let candidate = Candidate { start: start(first), end: end(last), span };
                if candidate.logit() > self.floor {
                    self.spans.push(candidate);
                }
            }
            if self.spans.len() > self.top_k.saturating_mul(8) {
                self.keep_best();
            }
        }
        self.keep_best();
    }

    /// Sorts by logit, earlier places first among equals, and keeps `top_k` different places.
    fn keep_best(&mut self) {
        self.spans.sort_by(best_first(Candidate::logit, |_, _| std::cmp::Ordering::Equal));
        let most = self.top_k.min(self.spans.len());
        let (mut kept, mut places) = (Vec::with_capacity(most), HashSet::with_capacity(most));
        for candidate in &self.spans {
            if kept.len() == self.top_k {
                break;
            }
            if places.insert(candidate.span) {
                kept.push(*candidate);
            }
        }
        if kept.len() == self.top_k {
            self.floor = kept.last().map_or(f32::NEG_INFINITY, Candidate::logit);
        }
        self.spans = kept;
    }

    /// The best places without "the context does not say", with their logits.
    fn ranking(self, context: &str) -> Ranking {
        let null_logit = self.null.map_or(f32::NEG_INFINITY, |(start, end)| start + end);
        let ranked = |(score, c): (f32, Candidate)| RankedAnswer {
            answer: answer(context, score, c.span),
            start_logit: c.start,
            end_logit: c.end,
        };
        Ranking { answers: self.finish(false).into_iter().map(ranked).collect(), null_logit }
    }

    fn finish(mut self, null_allowed: bool) -> Vec<(f32, Candidate)> {
        if let (true, Some((start, end))) = (null_allowed, self.null) {
            self.starts.add(start);
            self.ends.add(end);
            self.spans.push(Candidate { start, end, span: Span::default() });
            self.keep_best();
        }
        let (max, sum) = (self.starts.max + self.ends.max, self.starts.sum * self.ends.sum);
        let score = |c: &Candidate| (exp(f64::from(c.logit()) - max) / sum) as f32;
        self.spans.iter().map(|c| (score(c), *c)).collect()
    }
}

/// `sum(exp(x))` of numbers that arrive one by one, as `sum * exp(max)`, which does not overflow.
struct ExpSum {
    max: f64,
    sum: f64,
}

impl ExpSum {
    fn new() -> Self {
        Self { max: f64::NEG_INFINITY, sum: 0.0 }
    }

    fn add(&mut self, x: f32) {
        let x = f64::from(x);
        if x > self.max {
            self.sum = self.sum * exp(self.max - x) + 1.0;
            self.max = x;
        } else {
            self.sum += exp(x - self.max);
        }
    }
}
