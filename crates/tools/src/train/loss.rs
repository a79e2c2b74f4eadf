//! The losses: how far logits are from their targets.

use candle_core::{Result, Tensor};
use candle_nn::loss::{cross_entropy, mse};
use candle_nn::ops::log_softmax;

use super::padded::Padded;

/// Divides both models' logits, so that labels which the teacher thinks unlikely contribute too (Hinton,
/// Vinyals and Dean 2015, arXiv 1503.02531, section 2).
const TEMPERATURE: f64 = 2.0;

/// The right output for each sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Targets {
    /// Index of the right label.
    Labels(Vec<u32>),
    /// A number, for regression.
    Values(Vec<f32>),
    /// First and last token of the answer; both are 0, which is `[CLS]`, if the sequence does not contain it.
    Spans(Vec<[u32; 2]>),
}

impl Targets {
    /// The targets of the given sequences.
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

    /// The mean loss over the sequences of a batch. It is the cross-entropy of the label, the squared error
    /// of the value, or the mean of the cross-entropies of the first and the last token among all tokens of
    /// the sequence.
    ///
    /// `logits` has the shape `[sequences, labels]`, or `[tokens, 2]` for spans.
    pub(super) fn loss(&self, logits: &Tensor, padded: &Padded) -> Result<Tensor> {
        let device = logits.device();
        match self {
            Targets::Labels(labels) => cross_entropy(logits, &Tensor::new(labels.as_slice(), device)?),
            Targets::Values(values) => {
                let values = Tensor::new(values.as_slice(), device)?.to_dtype(logits.dtype())?;
                mse(&logits.flatten_all()?, &values)
            }
            Targets::Spans(spans) => {
                let [first, last] = scores_of_tokens(logits, padded)?;
                let side = |scores: &Tensor, side: usize| {
                    let tokens: Vec<u32> = spans.iter().map(|span| span[side]).collect();
                    cross_entropy(scores, &Tensor::new(tokens, device)?)
                };
                (side(&first, 0)? + side(&last, 1)?)? / 2.0
            }
        }
    }

    /// The mean loss against a teacher's logits instead of the targets. It is the Kullback-Leibler divergence
    /// of the probabilities at [`TEMPERATURE`], times its square, which keeps the size of the gradient; for a
    /// number it is the squared difference.
    pub(super) fn divergence(&self, logits: &Tensor, teacher: &Tensor, padded: &Padded) -> Result<Tensor> {
        match self {
            Targets::Labels(_) => divergence(logits, teacher),
            Targets::Values(_) => mse(logits, teacher),
            Targets::Spans(_) => {
                let [first, last] = scores_of_tokens(logits, padded)?;
                let [their_first, their_last] = scores_of_tokens(teacher, padded)?;
                (divergence(&first, &their_first)? + divergence(&last, &their_last)?)? / 2.0
            }
        }
    }
}

/// Splits `[tokens, 2]` into the scores of first and of last tokens, each `[sequences, longest]`.
fn scores_of_tokens(logits: &Tensor, padded: &Padded) -> Result<[Tensor; 2]> {
    let block = padded.block(logits)?;
    let side = |side: usize| padded.masked(&block.narrow(2, side, 1)?.squeeze(2)?);
    Ok([side(0)?, side(1)?])
}

/// The mean divergence of two tensors `[rows, choices]`.
fn divergence(logits: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let logarithms = |x: &Tensor| log_softmax(&(x / TEMPERATURE)?, 1);
    let theirs = logarithms(teacher)?;
    let each = (theirs.exp()? * (&theirs - logarithms(logits)?)?)?;
    each.sum(1)?.mean_all()? * TEMPERATURE.powi(2)
}
