//! The search for the answers to one question, window by window.

use std::collections::HashSet;

use super::exp::exp;
use super::job::{Arrivals, Job};
use super::pass::Sequence;
use super::question_answering::{Answer, AnswerOptions, PreparedContext, RankedAnswer, Ranking};
use super::scores::best_first;
use crate::error::Result;
use crate::text::{Span, TokenizedText, Window, WindowOptions, Windows};

/// The search for the answers to one question; see [`QuestionAnswering::prepare_answer`]. It keeps the best
/// `top_k` places and two sums, however long the context is.
#[derive(Debug)]
pub struct AnswerJob {
    question: TokenizedText,
    context: PreparedContext,
    windows: WindowOptions,
    null_allowed: bool,
    search: Search,
    arrivals: Arrivals,
}

impl AnswerJob {
    pub(super) fn new(
        question: TokenizedText,
        context: PreparedContext,
        windows: WindowOptions,
        options: &AnswerOptions,
    ) -> Result<Self> {
        let count = context.tokens.windows_with_question(&question, &windows)?.len();
        Ok(Self {
            question,
            context,
            windows,
            null_allowed: options.handle_impossible_answer,
            search: Search::new(options.top_k, options.max_answer_len),
            arrivals: Arrivals::new(count),
        })
    }
}

/// The windows of a context for a question.
fn windows<'a>(
    context: &'a PreparedContext,
    question: &'a TokenizedText,
    options: &WindowOptions,
) -> Option<Windows<'a>> {
    // They were made once when the job was prepared.
    context.tokens.windows_with_question(question, options).ok()
}

impl Job for AnswerJob {
    type Output = Vec<Answer>;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        let window = windows(&self.context, &self.question, &self.windows)?.get(index)?;
        Some(Sequence::new(window.into_encoding()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let windows = windows(&self.context, &self.question, &self.windows);
        let window = |index| windows.as_ref().and_then(|windows| windows.get(index));
        let tokens = window(index).map_or(0, |window| window.encoding().len());
        self.arrivals.accept(index, rows, (tokens, 2), |index, rows| {
            if let Some(window) = window(index) {
                self.search.add(&window, rows);
            }
        })
    }

    fn finish(&mut self) -> Result<Vec<Answer>> {
        self.arrivals.finish()?;
        let found = self.search.finish(self.null_allowed).into_iter();
        Ok(found.map(|(score, c)| answer(&self.context.text, score, c.span)).collect())
    }
}

/// The search for the places of one question with their logits; see [`QuestionAnswering::prepare_rank`].
#[derive(Debug)]
pub struct RankJob(pub(super) AnswerJob);

impl Job for RankJob {
    type Output = Ranking;

    fn count(&self) -> usize {
        self.0.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        self.0.sequence(index)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.0.accept(index, rows)
    }

    fn finish(&mut self) -> Result<Ranking> {
        self.0.arrivals.finish()?;
        Ok(self.0.search.ranking(&self.0.context.text))
    }
}

fn answer(context: &str, score: f32, span: Span) -> Answer {
    Answer { score, start: span.start, end: span.end, answer: context[span.range()].to_owned() }
}

/// Collects the best spans and the normalisers over all windows of one context.
#[derive(Debug)]
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

#[derive(Debug, Clone, Copy)]
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
    fn ranking(&mut self, context: &str) -> Ranking {
        let null_logit = self.null.map_or(f32::NEG_INFINITY, |(start, end)| start + end);
        let ranked = |(score, c): (f32, Candidate)| RankedAnswer {
            answer: answer(context, score, c.span),
            start_logit: c.start,
            end_logit: c.end,
        };
        Ranking { answers: self.finish(false).into_iter().map(ranked).collect(), null_logit }
    }

    fn finish(&mut self, null_allowed: bool) -> Vec<(f32, Candidate)> {
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
#[derive(Debug)]
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
