//! Token ids of several sequences, end to end, without padding.

use crate::error::{ErrorKind, Result};

/// A ragged batch: sequence `s` owns tokens `starts[s]..starts[s + 1]`. No token is padding, so no work is
/// spent on it and no answer can depend on it.
///
/// ```
/// use mobilebert::Batch;
///
/// let mut batch = Batch::new();
/// batch.push(&[101, 7592, 102], &[0, 0, 0])?;
/// batch.push(&[101, 102], &[0, 0])?;
/// assert_eq!((batch.sequences(), batch.tokens()), (2, 5));
/// assert_eq!(batch.range(1), 3..5);
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    starts: Vec<usize>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Self {
        Self { ids: Vec::new(), type_ids: Vec::new(), starts: vec![0] }
    }

    /// Makes a batch of one sequence.
    ///
    /// # Errors
    /// The errors of [`Batch::push`].
    pub fn single(ids: &[u32], type_ids: &[u32]) -> Result<Self> {
        let mut batch = Self::new();
        batch.push(ids, type_ids)?;
        Ok(batch)
    }

    /// Makes a batch from the padded matrices of other tools: row after row of `width` columns, with mask 1
    /// for tokens and 0 for the padding behind them. Padding is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Batch`] if the lengths differ, a mask value is neither 0 nor 1, or a token follows
    /// padding.
    pub fn from_padded(ids: &[u32], type_ids: &[u32], mask: &[u32], width: usize) -> Result<Self> {
        let same = |what, found| match found == ids.len() && width > 0 && ids.len().is_multiple_of(width) {
            true => Ok(()),
            false => Err(ErrorKind::Batch {
                sequence: 0,
                position: 0,
                what,
                expected: format!("{} values, a multiple of the width {width}", ids.len()),
                found,
            }),
        };
        same("number of type ids", type_ids.len())?;
        same("number of mask values", mask.len())?;
        let mut batch = Self::new();
        for sequence in 0..ids.len() / width {
            let row = sequence * width..(sequence + 1) * width;
            let mask = &mask[row.clone()];
            let length = mask.iter().take_while(|&&m| m == 1).count();
            if let Some(bad) = mask[length..].iter().position(|&m| m != 0) {
                let (position, found) = (length + bad, mask[length + bad] as usize);
                let expected =
                    "0 behind the first padding (only padding on the right is supported)".to_owned();
                return Err(ErrorKind::Batch { sequence, position, what: "mask", expected, found }.into());
            }
            let tokens = row.start..row.start + length;
            batch.push(&ids[tokens.clone()], &type_ids[tokens])?;
        }
        Ok(batch)
    }

    /// Appends a sequence: its token ids and, for each token, the segment that it belongs to (0 or 1).
    ///
    /// # Errors
    /// [`ErrorKind::Batch`] if the sequence is empty or the lists differ in length.
    pub fn push(&mut self, ids: &[u32], type_ids: &[u32]) -> Result<()> {
        let sequence = self.sequences();
        let bad =
            |what, expected: String, found| ErrorKind::Batch { sequence, position: 0, what, expected, found };
        if ids.is_empty() {
            return Err(bad("number of tokens", "at least 1".to_owned(), 0).into());
        }
        if type_ids.len() != ids.len() {
            return Err(
                bad("number of type ids", format!("{}, as many as ids", ids.len()), type_ids.len()).into()
            );
        }
        self.ids.extend_from_slice(ids);
        self.type_ids.extend_from_slice(type_ids);
        self.starts.push(self.ids.len());
        Ok(())
    }

    /// Removes all sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.type_ids.clear();
        self.starts.truncate(1);
    }

    /// Returns the token ids of all sequences, end to end.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the segment of each token.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }

    /// Returns the cumulative lengths: `sequences() + 1` numbers from 0 to `tokens()`.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Returns the number of sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Returns the tokens of one sequence, as a range into [`Batch::ids`].
    pub fn range(&self, sequence: usize) -> std::ops::Range<usize> {
        self.starts[sequence]..self.starts[sequence + 1]
    }

    /// Returns the length of the longest sequence, which is 0 without sequences.
    pub fn max_len(&self) -> usize {
        self.starts.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0)
    }
}
