//! What a model computes for a fixed sequence, as a hash.

use super::Engine;
use crate::error::Result;
use crate::format::sha256;
use crate::graph::RowUnit;
use crate::text::Batch;

/// The number of tokens of the sequence, if the model takes so many.
const LENGTH: usize = 24;

/// A prime number, so that the tokens differ unless the vocabulary has a multiple of it.
const STEP: usize = 7919;

impl Engine {
    /// Runs a fixed sequence, with tokens from all over the vocabulary in two segments where the model has
    /// them, and returns the SHA-256 of its logits (of its first token's if the head gives rows on request)
    /// as little-endian numbers. Models in int8 have the same hash on every machine, so another one means
    /// that the weights, the memory or the processor are not what they were.
    ///
    /// # Errors
    /// The same as for [`Engine::forward`].
    pub fn self_check(&self) -> Result<String> {
        let config = self.config();
        let length = LENGTH.min(config.max_position_embeddings).max(1);
        let ids: Vec<u32> = (0..length).map(|i| (i * STEP % config.vocab_size.max(1)) as u32).collect();
        let types: Vec<u32> =
            (0..length).map(|i| u32::from(config.type_vocab_size > 1 && i >= length / 2)).collect();
        let batch = Batch::single(&ids, &types)?;
        let output = match self.row_unit() {
            RowUnit::Requested => self.forward_rows(&batch, &[0])?,
            _ => self.forward(&batch)?,
        };
        let bytes: Vec<u8> = output.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(sha256([bytes]))
    }
}
