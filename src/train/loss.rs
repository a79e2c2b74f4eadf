//! How wrong logits are.

use candle_core::{Result, Tensor};
use candle_nn::loss::{cross_entropy, mse};

use super::padded::Padded;

/// What each sequence should be given.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Targets {
    /// Index of the right label.
    Labels(Vec<u32>),
    /// A number, for regression.
    Values(Vec<f32>),
    /// First and last token of the answer; both 0, which is `[CLS]`, if the sequence does not hold it.
    Spans(Vec<[u32; 2]>),
}

impl Targets {
    /// Those of some sequences.
    pub(super) fn of(&self, sequences: &[usize]) -> Self {
        fn pick<T: Copy>(all: &[T], sequences: &[usize]) -> Vec<T> {
            sequences.iter().map(|&s| all[s]).collect()
        }
        match self {
            Targets::Labels(labels) => Targets::Labels(pick(labels, sequences)),
            Targets::Values(values) => Targets::Values(pick(values, sequences)),
            Targets::Spans(spans) => Targets::Spans(pick(spans, sequences)),
        }
    }

    /// The mean over the sequences of a batch: of the cross-entropy of the label, of the squared error of the value, or
    /// of the cross-entropies of the first and the last token among all tokens of the sequence.
    ///
    /// `logits`: `[sequences, labels]`, or `[tokens, 2]` for spans.
    pub(super) fn loss(&self, logits: &Tensor, padded: &Padded) -> Result<Tensor> {
        let device = logits.device();
        match self {
            Targets::Labels(labels) => cross_entropy(logits, &Tensor::new(labels.as_slice(), device)?),
            Targets::Values(values) => {
                let values = Tensor::new(values.as_slice(), device)?.to_dtype(logits.dtype())?;
                mse(&logits.flatten_all()?, &values)
            }
            Targets::Spans(spans) => {
                let block = padded.block(logits)?;
                let side = |side: usize| {
                    let tokens: Vec<u32> = spans.iter().map(|span| span[side]).collect();
                    let scores = padded.masked(&block.narrow(2, side, 1)?.squeeze(2)?)?;
                    cross_entropy(&scores, &Tensor::new(tokens, device)?)
                };
                (side(0)? + side(1)?)? / 2.0
            }
        }
    }
}
