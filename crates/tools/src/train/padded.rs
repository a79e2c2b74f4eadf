//! A ragged batch as a block with padding, for operations where one product for all sequences pays.

use candle_core::{Device, Result, Tensor};

use mobilebert::text::Batch;

/// Added to the scores of places without a token, so that their exponential is 0.
const NOWHERE: f32 = -1e30;

/// How the rows of a batch lie in a block of `sequences` times `longest` rows.
pub(super) struct Padded {
    /// For each place of the block, the row of the batch. Places without a token have the first row.
    rows: Tensor,
    /// For each row of the batch, its place in the block.
    places: Tensor,
    mask: Tensor,
    /// The number of tokens of each sequence.
    lengths: Vec<usize>,
    longest: usize,
}

impl Padded {
    pub(super) fn new(batch: &Batch, device: &Device) -> Result<Self> {
        let (sequences, longest) = (batch.sequences(), batch.max_len());
        let mut rows = vec![0u32; sequences * longest];
        let mut mask = vec![NOWHERE; sequences * longest];
        let mut places = Vec::with_capacity(batch.tokens());
        for s in 0..sequences {
            for (i, row) in batch.range(s).enumerate() {
                let place = s * longest + i;
                (rows[place], mask[place]) = (row as u32, 0.0);
                places.push(place as u32);
            }
        }
        Ok(Self {
            rows: Tensor::new(rows, device)?,
            places: Tensor::new(places, device)?,
            mask: Tensor::from_vec(mask, (sequences, longest), device)?,
            lengths: (0..sequences).map(|s| batch.range(s).len()).collect(),
            longest,
        })
    }

    /// The number of sequences, and the number of tokens of the longest one.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.lengths.len(), self.longest)
    }

    /// The number of tokens of each sequence.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Copies `[tokens, width]` to `[sequences, longest, width]`.
    pub(super) fn block(&self, x: &Tensor) -> Result<Tensor> {
        x.index_select(&self.rows, 0)?.reshape((self.lengths.len(), self.longest, x.dim(1)?))
    }

    /// Copies `[sequences * longest, width]` to `[tokens, width]`.
    pub(super) fn ragged(&self, x: &Tensor) -> Result<Tensor> {
        x.index_select(&self.places, 0)
    }

    /// Lowers the scores of places without a token, in `[sequences, longest]` or `[sequences, .., longest]`.
    pub(super) fn masked(&self, scores: &Tensor) -> Result<Tensor> {
        let mut shape = vec![1; scores.rank()];
        (shape[0], shape[scores.rank() - 1]) = (self.lengths.len(), self.longest);
        scores.broadcast_add(&self.mask.reshape(shape)?.to_dtype(scores.dtype())?)
    }
}
