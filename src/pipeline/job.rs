//! One input of a pipeline as data: it gives sequences, takes rows and ends in a result. It uses no threads
//! and no I/O.

use std::collections::BTreeMap;

use super::pass::Sequence;
use crate::error::{Error, ErrorKind, Result};

/// The work of a pipeline for one input, apart from the loop that does it. A program that schedules forward
/// passes by itself takes the sequences of any jobs, runs them in any passes and any order ([`super::Pass`]),
/// and hands the rows back. [`super::Model::run`] is the loop that the pipelines' own methods use.
///
/// Every pipeline makes its jobs by methods that begin with `prepare_`. A job owns all that it needs. It
/// holds neither its sequences, which are made when they are asked for, nor rows that it accepted in order.
///
/// ```
/// use mobilebert::{Job as _, Pass, TextClassification};
///
/// # fn main() -> mobilebert::Result<()> {
/// let sentiment = TextClassification::open("sentiment")?;
/// let mut job = sentiment.prepare_classify("a joy to watch", sentiment.options())?;
/// let mut pass = Pass::new();
/// for (_, sequence) in job.sequences() {
///     pass.push(&sequence)?;
/// }
/// let rows = pass.run(sentiment.engine())?;
/// for index in 0..job.count() {
///     job.accept(index, rows.rows(index))?;
/// }
/// assert_eq!(job.finish()?, sentiment.classify("a joy to watch")?);
/// # Ok(())
/// # }
/// ```
pub trait Job {
    /// The type of the job's result.
    type Output;

    /// Returns the number of sequences.
    fn count(&self) -> usize;

    /// Makes the sequence at an index, or returns `None` behind the last one.
    fn sequence(&self, index: usize) -> Option<Sequence>;

    /// Takes the rows that the model gave for a sequence, one after another. Sequences may come in any order,
    /// and the result does not depend on it: rows that come before their turn are kept until then.
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`] if a number is not finite, in which case this job has failed and no other
    /// one. [`ErrorKind::Rows`] if there is no such sequence, its rows have been accepted before, or their
    /// number is wrong.
    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()>;

    /// Takes the result, once the rows of all sequences have been accepted. It can be taken once.
    ///
    /// # Errors
    /// [`ErrorKind::NotFinite`] if the job has failed with it; [`ErrorKind::Rows`] if rows are missing, or
    /// the result has been taken before.
    fn finish(&mut self) -> Result<Self::Output>;

    /// Iterates over all sequences with their indices. Each is made when the iterator gets there.
    fn sequences(&self) -> impl Iterator<Item = (usize, Sequence)>
    where
        Self: Sized,
    {
        (0..self.count()).filter_map(|index| Some((index, self.sequence(index)?)))
    }
}

impl<J: Job + ?Sized> Job for Box<J> {
    type Output = J::Output;

    fn count(&self) -> usize {
        (**self).count()
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        (**self).sequence(index)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        (**self).accept(index, rows)
    }

    fn finish(&mut self) -> Result<Self::Output> {
        (**self).finish()
    }
}

/// The record of the rows of a job that have arrived. It hands them on in the order of the sequences, so sums
/// and ties come out the same in whatever order they arrive.
#[derive(Debug)]
pub(super) struct Arrivals {
    count: usize,
    next: usize,
    early: BTreeMap<usize, Vec<f32>>,
    /// The row and the value of the first number that was not finite.
    not_finite: Option<(usize, f32)>,
    finished: bool,
}

impl Arrivals {
    pub(super) fn new(count: usize) -> Self {
        Self { count, next: 0, early: BTreeMap::new(), not_finite: None, finished: false }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Checks that there are `expected` rows of `width` numbers, and gives those whose turn it is to `merge`.
    pub(super) fn accept(
        &mut self,
        index: usize,
        rows: &[f32],
        (expected, width): (usize, usize),
        mut merge: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        if index >= self.count {
            return Err(wrong(index, format!("one of {} sequences", self.count), "rows for it".to_owned()));
        }
        if self.has_accepted(index) {
            return Err(wrong(index, "rows for each sequence once".to_owned(), "them again".to_owned()));
        }
        if rows.len() != expected * width {
            let expected = format!("{expected} rows of {width} numbers");
            return Err(wrong(index, expected, format!("{} numbers", rows.len())));
        }
        if self.not_finite.is_none() {
            let bad = rows.iter().position(|value| !value.is_finite());
            self.not_finite = bad.map(|i| (i / width, rows[i]));
        }
        self.check_finite()?;
        if index > self.next {
            self.early.insert(index, rows.to_vec());
            return Ok(());
        }
        merge(index, rows);
        self.next += 1;
        while let Some(rows) = self.early.remove(&self.next) {
            merge(self.next, &rows);
            self.next += 1;
        }
        Ok(())
    }

    /// True if the rows of this sequence have been accepted.
    pub(super) fn has_accepted(&self, index: usize) -> bool {
        index < self.next || self.early.contains_key(&index)
    }

    /// Gives the rows that wait for their turn to `merge`, in order. No further rows can be accepted.
    pub(super) fn skip_missing(&mut self, mut merge: impl FnMut(usize, &[f32])) {
        for (index, rows) in std::mem::take(&mut self.early) {
            merge(index, &rows);
        }
        self.next = self.count;
    }

    /// Checks that the result can be taken, and marks it as taken.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.check_finite()?;
        if self.next < self.count {
            let expected = "rows for each sequence before the end".to_owned();
            return Err(wrong(self.next, expected, "none for this one".to_owned()));
        }
        if self.finished {
            let expected = "a result that is taken once".to_owned();
            return Err(wrong(self.count - 1, expected, "a job that has finished".to_owned()));
        }
        self.finished = true;
        Ok(())
    }

    fn check_finite(&self) -> Result<()> {
        match self.not_finite {
            Some((row, value)) => Err(ErrorKind::NotFinite { row, value }.into()),
            None => Ok(()),
        }
    }
}

fn wrong(sequence: usize, expected: String, found: String) -> Error {
    ErrorKind::Rows { sequence, expected, found }.into()
}
