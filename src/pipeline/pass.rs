//! One forward pass over sequences of any jobs.

use crate::engine::{Engine, Output};
use crate::error::Result;
use crate::graph::RowUnit;
use crate::text::{Batch, Encoding};

/// One sequence of a job: the tokens that the model reads, and those of them that get rows if the head asks
/// for that.
#[derive(Debug, Clone)]
pub struct Sequence {
    encoding: Encoding,
    requested: Vec<usize>,
}

impl Sequence {
    /// Makes a sequence with all the rows that the head gives.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, requested: Vec::new() }
    }

    /// Makes a sequence for a masked-LM head, which gives one row for each of these positions.
    pub fn with_requested(encoding: Encoding, positions: Vec<usize>) -> Self {
        Self { encoding, requested: positions }
    }

    /// Returns the tokens.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Returns the positions that a masked-LM head gives rows for. Other heads do not look at them.
    pub fn requested(&self) -> &[usize] {
        &self.requested
    }
}

/// Sequences that are run together. They may come from any jobs of one model, in any order: no sequence's
/// rows depend on its neighbours.
#[derive(Debug, Clone, Default)]
pub struct Pass {
    batch: Batch,
    /// The requested positions, as indices into the batch.
    requested: Vec<usize>,
    /// The number of requested rows up to each sequence's end.
    requested_ends: Vec<usize>,
}

/// The rows of a pass, by sequence.
#[derive(Debug, Clone)]
pub struct PassRows {
    output: Output,
    /// The first row of each sequence, and the number of rows at the end.
    starts: Vec<usize>,
}

impl Pass {
    /// Makes a pass without sequences.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a sequence.
    ///
    /// # Errors
    /// The errors of [`Batch::push`].
    pub fn push(&mut self, sequence: &Sequence) -> Result<()> {
        let first = self.batch.tokens();
        self.batch.push(sequence.encoding.ids(), sequence.encoding.type_ids())?;
        self.requested.extend(sequence.requested.iter().map(|&position| first + position));
        self.requested_ends.push(self.requested.len());
        Ok(())
    }

    /// Returns the number of sequences.
    pub fn sequences(&self) -> usize {
        self.batch.sequences()
    }

    /// Returns the number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.batch.tokens()
    }

    /// Removes all sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.requested.clear();
        self.requested_ends.clear();
    }

    /// Runs the model on all sequences. Rows may hold numbers that are not finite. [`super::Job::accept`]
    /// refuses those of its own sequences, so no job fails because of another one's numbers.
    ///
    /// # Errors
    /// The errors of [`Engine::forward`], but for [`crate::ErrorKind::NotFinite`].
    pub fn run(&self, engine: &Engine) -> Result<PassRows> {
        let sequences = self.batch.sequences();
        let (output, starts) = match engine.row_unit() {
            RowUnit::Token => (engine.forward_any(&self.batch)?, self.batch.starts().to_vec()),
            RowUnit::Sequence => (engine.forward_any(&self.batch)?, (0..=sequences).collect()),
            RowUnit::Requested => {
                let starts = std::iter::once(0).chain(self.requested_ends.iter().copied()).collect();
                (engine.forward_rows_any(&self.batch, &self.requested)?, starts)
            }
        };
        Ok(PassRows { output, starts })
    }
}

impl PassRows {
    /// Returns the rows of a sequence, one after another, by its place in the pass. They are empty if there
    /// is no such sequence.
    pub fn rows(&self, sequence: usize) -> &[f32] {
        let end = sequence.checked_add(1).and_then(|next| self.starts.get(next));
        let (Some(&start), Some(&end)) = (self.starts.get(sequence), end) else { return &[] };
        let width = self.output.width();
        self.output.values().get(start * width..end * width).unwrap_or_default()
    }
}
