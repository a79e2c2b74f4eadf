//! Vectors of texts, and hidden states of their tokens.

use mobilebert::pipeline::Sequence;
use mobilebert::{EmbedOptions, Embedder, Encoding, ErrorKind, Job};

use crate::failure::{Failure, Result};
use crate::list::{self, Inputs, Watch};
use crate::texts::Texts;

/// A matrix of numbers, row after row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    /// The numbers.
    pub values: Vec<f32>,
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
}

/// The vectors of a list of texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vectors {
    /// A row for each text.
    pub matrix: Matrix,
    /// For each text, whether its end was not read because it did not fit the model.
    pub truncated: Vec<bool>,
}

/// Computes the vector of each text. `is_list` is false for a call with a single text.
///
/// # Errors
/// The errors of [`Embedder::embed_with`], for the first text that fails; `cancelled` and
/// `deadline_exceeded` as `watch` says; `option` if the matrix does not fit the memory.
pub fn vectors(
    pipeline: &Embedder,
    texts: &dyn Texts,
    is_list: bool,
    options: &EmbedOptions,
    watch: &mut Watch<'_>,
) -> Result<Vectors> {
    let rows = texts.count();
    let mut found = Vectors::default();
    found.matrix.columns = pipeline.dimensions();
    let prepare = |index: usize| pipeline.prepare_embed(texts.text(index), options);
    list::run(pipeline.model(), Inputs::new(texts, is_list, "text"), watch, prepare, |index, vector| {
        let Matrix { values, columns, .. } = &mut found.matrix;
        if index == 0 {
            *columns = vector.embedding.len();
            if values.try_reserve_exact(rows.saturating_mul(*columns)).is_err() {
                let expected = "fewer texts at a time, whose vectors fit the memory";
                return Err(Failure::option("texts", expected, format!("{rows} of {columns} numbers each")));
            }
        }
        values.extend_from_slice(&vector.embedding);
        found.truncated.push(vector.truncated);
        Ok(())
    })?;
    found.matrix.rows = rows;
    Ok(found)
}

/// The hidden states of one text: a row for each token, special tokens included.
#[derive(Debug, Clone, PartialEq)]
pub struct States {
    /// The states.
    pub matrix: Matrix,
    /// Whether the end of the text was not read because it did not fit the model.
    pub truncated: bool,
}

/// Computes the hidden states of the tokens of each text. `is_list` is false for a call with a single text.
///
/// # Errors
/// The errors of [`vectors`].
pub fn states(
    pipeline: &Embedder,
    texts: &dyn Texts,
    is_list: bool,
    options: &EmbedOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<States>> {
    let prepare = |index: usize| StatesJob::new(pipeline, texts.text(index), options);
    let mut found = Vec::new();
    let inputs = Inputs::new(texts, is_list, "text");
    list::run(pipeline.model(), inputs, watch, prepare, |_, states| {
        found.push(states);
        Ok(())
    })?;
    Ok(found)
}

/// The job that keeps the rows of a text as they are.
struct StatesJob {
    encoding: Encoding,
    truncated: bool,
    columns: usize,
    values: Option<Vec<f32>>,
}

impl StatesJob {
    fn new(pipeline: &Embedder, text: &str, options: &EmbedOptions) -> mobilebert::Result<Self> {
        // This checks the options and the text as for a vector.
        pipeline.prepare_embed(text, options)?;
        let tokens = pipeline.tokenizer().tokenize(text)?;
        let limit = options.max_seq_len.unwrap_or(usize::MAX).min(pipeline.model().max_len());
        let (encoding, truncated) = tokens.encode_truncated(None, limit)?;
        let columns = pipeline.engine().config().hidden_size;
        Ok(Self { encoding, truncated, columns, values: None })
    }

    fn wrong(&self, index: usize, found: String) -> mobilebert::Error {
        let expected = format!("{} rows of {} numbers, once", self.encoding.len(), self.columns);
        ErrorKind::Rows { sequence: index, expected, found }.into()
    }
}

impl Job for StatesJob {
    type Output = States;

    fn count(&self) -> usize {
        1
    }

    fn sequence(&self, index: usize) -> Option<Sequence> {
        (index == 0).then(|| Sequence::new(self.encoding.clone()))
    }

    fn accept(&mut self, index: usize, rows: &[f32]) -> mobilebert::Result<()> {
        if index != 0 || self.values.is_some() || rows.len() != self.encoding.len() * self.columns {
            return Err(self.wrong(index, format!("{} numbers", rows.len())));
        }
        if let Some(place) = rows.iter().position(|value| !value.is_finite()) {
            return Err(ErrorKind::NotFinite { row: place / self.columns, value: rows[place] }.into());
        }
        self.values = Some(rows.to_vec());
        Ok(())
    }

    fn finish(&mut self) -> mobilebert::Result<States> {
        let values = self.values.take().ok_or_else(|| self.wrong(0, "none".to_owned()))?;
        let matrix = Matrix { values, rows: self.encoding.len(), columns: self.columns };
        Ok(States { matrix, truncated: self.truncated })
    }
}
