//! What the scheduler runs: jobs of the engine's pipelines, whose results have one type, and the sequences
//! that these jobs consist of.

use mobilebert::pipeline::Sequence;
use mobilebert::{
    Answer, AnswersWithin, Batch, Classification, Embedding, Engine, Entity, Fill, Job, Result, RowUnit,
};
use sha2::{Digest as _, Sha256};

/// The result of a job.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    Answers(Vec<Answer>),
    AnswersWithin(AnswersWithin),
    Labels(Classification),
    Entities(Vec<Entity>),
    Fills(Vec<Vec<Fill>>),
    Vector(Embedding),
    /// The rows themselves, and how many numbers each has.
    Rows(Vec<f32>, usize),
}

/// A job of any pipeline.
pub(crate) type AnyJob = Box<dyn Work>;

/// A job whose sequences can be run among those of others.
pub(crate) trait Work: Send {
    /// Returns the number of sequences.
    fn count(&self) -> usize;
    /// Makes a sequence.
    fn unit(&self, index: usize) -> Option<Unit>;
    /// Takes the rows of a sequence.
    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()>;
    /// Takes the result.
    fn finish(&mut self) -> Result<Found>;
}

/// A job of the library, and the variant that its result becomes.
struct OfPipeline<J: Job>(J, fn(J::Output) -> Found);

/// Puts a job of the library into the form that the scheduler takes.
pub(crate) fn work<J: Job + Send + 'static>(job: J, found: fn(J::Output) -> Found) -> AnyJob {
    Box::new(OfPipeline(job, found))
}

impl<J: Job + Send> Work for OfPipeline<J> {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn unit(&self, index: usize) -> Option<Unit> {
        self.0.sequence(index).map(Unit::from)
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        self.0.accept(index, rows)
    }

    fn finish(&mut self) -> Result<Found> {
        self.0.finish().map(self.1)
    }
}

/// One sequence: its tokens, their segments, and the tokens that get rows if the head asks for that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) ids: Vec<u32>,
    pub(crate) types: Vec<u32>,
    pub(crate) requested: Vec<usize>,
}

impl From<Sequence> for Unit {
    fn from(sequence: Sequence) -> Self {
        let encoding = sequence.encoding();
        Self {
            ids: encoding.ids().to_vec(),
            types: encoding.type_ids().to_vec(),
            requested: sequence.requested().to_vec(),
        }
    }
}

/// Names a sequence of one engine: equal keys mean equal rows, bit for bit.
pub(crate) type Key = [u8; 32];

impl Unit {
    /// Returns the key of this sequence on the engine of that number.
    pub(crate) fn key(&self, engine: u64) -> Key {
        let mut hash = Sha256::new();
        hash.update(engine.to_le_bytes());
        hash.update((self.ids.len() as u64).to_le_bytes());
        self.ids.iter().chain(&self.types).for_each(|id| hash.update(id.to_le_bytes()));
        self.requested.iter().for_each(|&position| hash.update((position as u64).to_le_bytes()));
        hash.finalize().into()
    }
}

/// The rows of a pass, sequence by sequence.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    values: Vec<f32>,
    /// Where the numbers of each sequence begin, and the end.
    starts: Vec<usize>,
}

impl Rows {
    pub(crate) fn new(values: Vec<f32>, starts: Vec<usize>) -> Self {
        Self { values, starts }
    }

    /// Returns the numbers of a sequence.
    pub(crate) fn of(&self, sequence: usize) -> &[f32] {
        match (self.starts.get(sequence), self.starts.get(sequence + 1)) {
            (Some(&start), Some(&end)) => self.values.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// What runs passes. This is the engine; tests put others in its place.
pub(crate) trait Runs: Send + Sync {
    /// Runs one pass over sequences. Numbers may be not finite; a job refuses those of its own sequences.
    fn run(&self, units: &[Unit]) -> Result<Rows>;

    /// Bytes that are kept for the next passes.
    fn kept_bytes(&self) -> usize {
        0
    }
}

impl Runs for Engine {
    fn run(&self, units: &[Unit]) -> Result<Rows> {
        let mut batch = Batch::new();
        let mut requested = Vec::new();
        let mut ends = vec![0];
        for unit in units {
            let first = batch.tokens();
            batch.push(&unit.ids, &unit.types)?;
            requested.extend(unit.requested.iter().map(|&position| first + position));
            ends.push(requested.len());
        }
        let (output, rows) = match self.row_unit() {
            RowUnit::Token => (self.forward_any(&batch)?, batch.starts().to_vec()),
            RowUnit::Sequence => (self.forward_any(&batch)?, (0..=units.len()).collect()),
            RowUnit::Requested => (self.forward_rows_any(&batch, &requested)?, ends),
        };
        let width = output.width();
        Ok(Rows::new(output.values().to_vec(), rows.into_iter().map(|row| row * width).collect()))
    }

    fn kept_bytes(&self) -> usize {
        self.arena_bytes()
    }
}

/// A job that gives back the rows of one sequence of token ids.
pub(crate) struct RawJob {
    unit: Unit,
    width: usize,
    /// The number of rows that are expected, if it is known.
    count: Option<usize>,
    rows: Option<Vec<f32>>,
}

impl RawJob {
    /// Makes the job. Each row has `width` numbers.
    pub(crate) fn new(unit: Unit, width: usize) -> Self {
        Self { unit, width, count: None, rows: None }
    }

    /// Lets the job refuse any other number of rows than this.
    pub(crate) fn of_rows(mut self, count: usize) -> Self {
        self.count = Some(count);
        self
    }
}

impl Work for RawJob {
    fn count(&self) -> usize {
        1
    }

    fn unit(&self, index: usize) -> Option<Unit> {
        (index == 0).then(|| self.unit.clone())
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> Result<()> {
        let width = self.width;
        if let Some(count) = self.count
            && count.checked_mul(width) != Some(rows.len())
        {
            let expected = format!("{count} rows of {width} numbers");
            let found = format!("{} numbers", rows.len());
            return Err(mobilebert::ErrorKind::Rows { sequence: index, expected, found }.into());
        }
        if let Some((row, &value)) = rows.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(mobilebert::ErrorKind::NotFinite { row: row / width.max(1), value }.into());
        }
        self.rows = Some(rows.to_vec());
        Ok(())
    }

    fn finish(&mut self) -> Result<Found> {
        Ok(Found::Rows(self.rows.take().unwrap_or_default(), self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_job_refuses_another_number_of_rows() {
        let job = || RawJob::new(Unit::default(), 2).of_rows(3);
        assert!(job().accept(0, &[0.0; 6]).is_ok());
        for found in [0, 4, 5, 7] {
            let error = job().accept(0, &vec![0.0; found]).unwrap_err().to_string();
            assert!(error.contains("3 rows of 2 numbers"), "{error}");
        }
    }
}
