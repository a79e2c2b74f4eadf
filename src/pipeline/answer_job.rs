//! The search for the answers to one question, window by window.

use std::sync::Arc;

use super::answer_search::{Null, Search, answer};
use super::job::{Arrivals, Job};
use super::pass::Sequence;
use super::question_answering::{Answer, AnswerOptions, PreparedContext, Ranking};
use crate::error::Result;
use crate::text::{TokenizedText, Window, WindowOptions, Windows};

/// The search for the answers to one question; see [`super::QuestionAnswering::prepare_answer`]. It keeps the
/// best places of a bounded number of texts and two sums, however long the context is.
#[derive(Debug)]
pub struct AnswerJob {
    question: TokenizedText,
    context: PreparedContext,
    windows: WindowOptions,
    null: Null,
    search: Search,
    arrivals: Arrivals,
}

impl AnswerJob {
    pub(super) fn new(
        question: TokenizedText,
        context: PreparedContext,
        windows: WindowOptions,
        options: &AnswerOptions,
        null_threshold: f32,
    ) -> Result<Self> {
        let count = context.tokens.windows_with_question(&question, &windows)?.len();
        Ok(Self {
            question,
            context,
            windows,
            null: match options {
                AnswerOptions { handle_impossible_answer: true, null_threshold: odds, .. } => {
                    Null::Answer(odds.unwrap_or(null_threshold))
                }
                AnswerOptions { null_competes: true, .. } => Null::Competes,
                _ => Null::Ignored,
            },
            search: Search::new(options),
            arrivals: Arrivals::new(count),
        })
    }

    /// The question.
    pub(super) fn question(&self) -> &TokenizedText {
        &self.question
    }

    /// The windows of the context, each with the question.
    pub(super) fn windows(&self) -> Result<Windows<'_>> {
        self.context.tokens.windows_with_question(&self.question, &self.windows)
    }

    /// True if the rows of this window have come.
    pub(super) fn has_accepted(&self, window: usize) -> bool {
        self.arrivals.has_accepted(window)
    }

    /// Takes the result of the windows whose rows have come, as if there were no others. The result does not
    /// depend on the order in which they came.
    pub(super) fn finish_early(&mut self) -> Result<Vec<Answer>> {
        let windows = self.context.tokens.windows_with_question(&self.question, &self.windows)?;
        self.arrivals.skip_missing(|index, rows| {
            if let Some(window) = windows.get(index) {
                self.search.add(&self.context.text, &window, rows);
            }
        });
        self.finish()
    }

    /// Makes the same search in these windows only, which are in ascending order. It no longer holds the tokens
    /// of the context.
    pub(super) fn of_windows(self, indices: &[usize]) -> Result<WindowsJob> {
        let windows = self.windows()?;
        let windows: Vec<Window> = indices.iter().filter_map(|&index| windows.get(index)).collect();
        Ok(WindowsJob {
            text: Arc::clone(&self.context.text),
            arrivals: Arrivals::new(windows.len()),
            windows,
            null: self.null,
            search: self.search,
        })
    }

    /// Makes the same search without merging equal texts.
    pub(super) fn by_place(mut self) -> Self {
        self.search.merged = false;
        self
    }
}

impl Job for AnswerJob {
    type Output = Vec<Answer>;

    fn count(&self) -> usize {
        self.arrivals.count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        let window = self.windows().ok()?.get(index)?;
        Some(Sequence::new(window.into_encoding()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let windows = self.context.tokens.windows_with_question(&self.question, &self.windows)?;
        self.arrivals.accept(index, rows, (windows.sequence_len(index), 2), |index, rows| {
            if let Some(window) = windows.get(index) {
                self.search.add(&self.context.text, &window, rows);
            }
        })
    }

    fn finish(&mut self) -> Result<Vec<Answer>> {
        self.arrivals.finish()?;
        let context = &*self.context.text;
        Ok(self.search.finish(context, self.null).iter().map(|places| answer(context, places)).collect())
    }
}

/// The search for the answers to one question in some windows of a context.
#[derive(Debug)]
pub(super) struct WindowsJob {
    text: Arc<str>,
    windows: Vec<Window>,
    null: Null,
    search: Search,
    arrivals: Arrivals,
}

impl Job for WindowsJob {
    type Output = Vec<Answer>;

    fn count(&self) -> usize {
        self.windows.len()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        self.windows.get(index).map(|window| Sequence::new(window.encoding().clone()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let Self { text, windows, search, arrivals, .. } = self;
        let len = windows.get(index).map_or(0, |window| window.encoding().len());
        arrivals.accept(index, rows, (len, 2), |index, rows| search.add(text, &windows[index], rows))
    }

    fn finish(&mut self) -> Result<Vec<Answer>> {
        self.arrivals.finish()?;
        Ok(self
            .search
            .finish(&self.text, self.null)
            .iter()
            .map(|places| answer(&self.text, places))
            .collect())
    }
}

/// The search for the places of one question with their logits; see
/// [`super::QuestionAnswering::prepare_rank`].
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
        let null = if self.0.null == Null::Ignored { Null::Ignored } else { Null::Competes };
        Ok(self.0.search.ranking(&self.0.context.text, null))
    }
}
