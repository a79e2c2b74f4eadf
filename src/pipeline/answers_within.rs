//! A search for answers that may end early. It reads the windows first that have most in common with the
//! question.

use std::collections::HashMap;
use std::ops::Range;

use super::answer_job::{AnswerJob, WindowsJob};
use super::control::RunControl;
use super::exp::ln;
use super::job::Job;
use super::pass::Sequence;
use super::question_answering::{Answer, AnswerOptions, PreparedContext, QuestionAnswering};
use crate::error::{Error, ErrorKind, Result};
use crate::text::{Window, Windows};

/// The answers in the part of a context that was read in time; see [`QuestionAnswering::answers_within`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AnswersWithin {
    /// The best answers in the windows that were read, best first. Scores are shares among these windows.
    pub answers: Vec<Answer>,
    /// The number of windows of the context.
    pub windows: usize,
    /// The number of windows that were read.
    pub windows_read: usize,
    /// The bytes of the context that no window that was read holds, in their order. It is empty if all
    /// windows were read.
    pub unread: Vec<Range<usize>>,
}

impl QuestionAnswering {
    /// Finds the best `top_k` answers without reading the whole context, and says what was left unread. The
    /// windows that have most words in common with the question are read first.
    ///
    /// The search reads `most_windows` windows, if that is given, and stops at the control's deadline. The
    /// first gives the same result on every machine; the second gives what this machine finds in time. The
    /// deadline is looked at before each pass. What the windows have in common with the question is counted
    /// before the first one, in about the time in which the context was tokenised. If all windows are read,
    /// the answers are those of [`QuestionAnswering::answers_in_with`], bit for bit.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use mobilebert::{QuestionAnswering, RunControl};
    ///
    /// # fn main() -> mobilebert::Result<()> {
    /// let qa = QuestionAnswering::open("qa")?;
    /// let padding = "Trees grow slowly in the north. ".repeat(300);
    /// let context = qa.prepare(format!("{padding} The bridge was built by Ada Lovelace. {padding}"))?;
    /// let mut control = RunControl::default();
    /// control.deadline = Some(Instant::now() + Duration::from_secs(2));
    /// let question = "Who built the bridge?";
    /// let found = qa.answers_within(question, &context, qa.options(), None, &mut control)?;
    /// assert_eq!(found.answers[0].answer, "Ada Lovelace");
    /// println!("{} of {} windows; unread bytes: {:?}", found.windows_read, found.windows, found.unread);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::answer_with`], for the question; [`ErrorKind::Option`] if
    /// `most_windows` is 0; [`ErrorKind::DeadlineExceeded`] if the deadline is over before the first pass
    /// begins; [`ErrorKind::Cancelled`] as `control` says.
    pub fn answers_within(
        &self,
        question: &str,
        context: &PreparedContext,
        options: &AnswerOptions,
        most_windows: Option<usize>,
        control: &mut RunControl<'_>,
    ) -> Result<AnswersWithin> {
        check_most_windows(most_windows)?;
        let mut job = self.prepare_answer(question, context, options)?;
        control.check(0)?;
        let order = first_by_overlap(&job, most_windows)?;
        match self.model().run_one(Reordered { job: &mut job, order }, control) {
            Err(error) if matches!(error.kind(), ErrorKind::DeadlineExceeded { done: 1.. }) => {}
            other => other?,
        }
        let windows = job.windows()?;
        let (read, unread) = read_and_unread(&windows, |index| job.has_accepted(index), context.text().len());
        let count = windows.len();
        Ok(AnswersWithin { answers: job.finish_early()?, windows: count, windows_read: read, unread })
    }

    /// Makes a job that searches as [`QuestionAnswering::answers_within`] does: it has `most_windows` sequences
    /// at most, those first that have most words in common with the question. Its result is the same on every
    /// machine.
    ///
    /// # Errors
    /// The errors of [`QuestionAnswering::prepare_answer`]; [`ErrorKind::Option`] if `most_windows` is 0.
    pub fn prepare_answers_within(
        &self,
        question: &str,
        context: &PreparedContext,
        options: &AnswerOptions,
        most_windows: Option<usize>,
    ) -> Result<AnswersWithinJob> {
        check_most_windows(most_windows)?;
        let job = self.prepare_answer(question, context, options)?;
        let order = first_by_overlap(&job, most_windows)?;
        let mut places = order.clone();
        places.sort_unstable();
        let windows = job.windows()?;
        let is_read = |index: usize| places.binary_search(&index).is_ok();
        let (read, unread) = read_and_unread(&windows, is_read, context.text().len());
        let found = AnswersWithin { answers: Vec::new(), windows: windows.len(), windows_read: read, unread };
        let order = order.iter().map(|window| places.partition_point(|place| place < window)).collect();
        Ok(AnswersWithinJob { order, found, job: job.of_windows(&places)? })
    }
}

fn check_most_windows(most_windows: Option<usize>) -> Result<()> {
    match most_windows {
        Some(0) => Err(Error::option("most_windows", "at least 1", 0)),
        _ => Ok(()),
    }
}

/// A search that reads a part of a context; see [`QuestionAnswering::prepare_answers_within`]. It holds the
/// windows that it reads and the text, and not the tokens of the rest.
#[derive(Debug)]
pub struct AnswersWithinJob {
    job: WindowsJob,
    /// The place of each sequence among the windows that are read, which are in the order of the text.
    order: Vec<usize>,
    /// The result but for the answers.
    found: AnswersWithin,
}

impl Job for AnswersWithinJob {
    type Output = AnswersWithin;

    fn count(&self) -> usize {
        self.order.len()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        self.job.sequence(*self.order.get(index)?)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        // An index behind the last one is an error of the search.
        self.job.accept(self.order.get(index).copied().unwrap_or(usize::MAX), rows)
    }

    fn finish(&mut self) -> Result<AnswersWithin> {
        let answers = self.job.finish()?;
        Ok(AnswersWithin { answers, ..self.found.clone() })
    }
}

/// A search whose windows come in another order. Its result stays in the search.
struct Reordered<'j> {
    job: &'j mut AnswerJob,
    /// The index of the window that comes first, second, and so on.
    order: Vec<usize>,
}

impl Job for Reordered<'_> {
    type Output = ();

    fn count(&self) -> usize {
        self.order.len()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        self.job.sequence(*self.order.get(index)?)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        // An index behind the last one is an error of the search.
        self.job.accept(self.order.get(index).copied().unwrap_or(index), rows)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Returns the indices of the windows that are read, those first that have most in common with the question.
fn first_by_overlap(job: &AnswerJob, most_windows: Option<usize>) -> Result<Vec<usize>> {
    let mut order = by_overlap(job)?;
    order.truncate(most_windows.unwrap_or(usize::MAX));
    Ok(order)
}

/// The number of occurrences of a word at which its weight is half of what it can become (Robertson and
/// Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, section 3.4, where it is 1.2 to
/// 2). Windows are equally long, so there is no normalisation by length.
const SATURATION: f64 = 1.2;

/// Returns the indices of all windows, those first that have most in common with the question by BM25. Tokens
/// that stand in many windows count little. Windows with equal weights keep their order.
fn by_overlap(job: &AnswerJob) -> Result<Vec<usize>> {
    let mut words: Vec<u32> = job.question().ids().to_vec();
    words.sort_unstable();
    words.dedup();
    let windows = job.windows()?;
    if windows.len() == 1 {
        return Ok(vec![0]);
    }
    let place: HashMap<u32, usize> = words.iter().enumerate().map(|(place, &id)| (id, place)).collect();
    // How often each word stands in each window: few of the words do.
    let mut found: Vec<Vec<(usize, u32)>> = Vec::with_capacity(windows.len());
    let mut windows_with = vec![0_usize; words.len()];
    let count = windows.len();
    for window in windows {
        let mut times = vec![0; words.len()];
        for id in &window.ids()[window.positions()] {
            if let Some(&place) = place.get(id) {
                times[place] += 1;
            }
        }
        let found_here: Vec<(usize, u32)> = times.into_iter().enumerate().filter(|&(_, n)| n > 0).collect();
        found_here.iter().for_each(|&(place, _)| windows_with[place] += 1);
        found.push(found_here);
    }
    let rarity = |place: usize| {
        // The logarithm of 1 + (count - with + 0.5) / (with + 0.5).
        let with = windows_with[place] as f64;
        ln((count + 1) as f64 / (with + 0.5))
    };
    let weight = |found: &[(usize, u32)]| -> f64 {
        let of_word = |&(place, times): &(usize, u32)| {
            rarity(place) * f64::from(times) / (f64::from(times) + SATURATION)
        };
        found.iter().map(of_word).sum()
    };
    let weights: Vec<f64> = found.iter().map(|found| weight(found)).collect();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]));
    Ok(order)
}

/// Returns the number of windows that were read, and the bytes of the text that none of them holds.
fn read_and_unread(
    windows: &Windows<'_>,
    is_read: impl Fn(usize) -> bool,
    len: usize,
) -> (usize, Vec<Range<usize>>) {
    let (mut read, mut unread) = (0, Vec::new());
    // The token and the byte behind what was read so far.
    let (mut token, mut byte) = (0, 0);
    // Several tokens may stand for one character. Those of a character that was read in part leave no text
    // unread.
    let leaves_text = |window: &Window, last: usize, byte: usize| {
        let position = window.positions().start + last.saturating_sub(window.tokens().start);
        window.span(position).is_some_and(|span| span.end > byte)
    };
    let count = windows.len();
    for index in (0..count).filter(|&index| is_read(index)) {
        let Some(window) = windows.get(index) else { continue };
        read += 1;
        let positions = window.positions();
        let (Some(first), Some(last)) =
            (window.span(positions.start), window.span(positions.end.saturating_sub(1)))
        else {
            continue;
        };
        let start = window.tokens().start;
        if start > token
            // The window before this one holds the token in front of it.
            && let Some(before) = index.checked_sub(1).and_then(|before| windows.get(before))
            && leaves_text(&before, start - 1, byte)
        {
            unread.push(byte..first.start);
        }
        (token, byte) = (window.tokens().end, last.end);
    }
    if let Some(window) = windows.get(count.saturating_sub(1))
        && !is_read(count - 1)
        && leaves_text(&window, window.tokens().end.saturating_sub(1), byte)
    {
        unread.push(byte..len);
    }
    (read, unread)
}
