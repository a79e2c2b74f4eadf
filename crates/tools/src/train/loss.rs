//! The losses: how far logits are from their targets.

use candle_core::{Result, Tensor};
use candle_nn::loss::{cross_entropy, mse};
use candle_nn::ops::log_softmax;

use super::padded::Padded;
use super::{tags, vectors};
use mobilebert::pipeline::Pooling;

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
    /// The label of each token of each sequence. Tokens without one do not count.
    Tags(Vec<Vec<Option<u32>>>),
    /// The cosine that the vectors of each pair of sequences should have, and how a vector is made.
    Cosines(Vec<f32>, Vec<Pooling>),
}

impl Targets {
    /// The targets of the given examples.
    pub(super) fn of(&self, examples: &[usize]) -> Self {
        fn pick<T: Clone>(all: &[T], examples: &[usize]) -> Vec<T> {
            examples.iter().map(|&example| all[example].clone()).collect()
        }
        match self {
            Targets::Labels(labels) => Targets::Labels(pick(labels, examples)),
            Targets::Values(values) => Targets::Values(pick(values, examples)),
            Targets::Spans(spans) => Targets::Spans(pick(spans, examples)),
            Targets::Tags(tags) => Targets::Tags(pick(tags, examples)),
            Targets::Cosines(cosines, poolings) => {
                Targets::Cosines(pick(cosines, examples), poolings.clone())
            }
        }
    }

    /// The mean loss over the examples of a batch. It is the cross-entropy of the label, the squared error
    /// of the value or of the cosine, or the mean of the cross-entropies of the first and the last token among
    /// all tokens of the sequence. For tags it is the mean of the cross-entropies over all tokens that have one.
    ///
    /// `logits` has the shape `[sequences, labels]`, `[tokens, 2]` for spans, `[tokens, labels]` for tags and
    /// `[tokens, width]` for cosines.
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
            Targets::Tags(tags) => tags::loss(logits, tags),
            Targets::Cosines(cosines, poolings) => {
                let cosines = Tensor::new(cosines.as_slice(), device)?.to_dtype(logits.dtype())?;
                mse(&vectors::cosines(logits, poolings, padded)?, &cosines)
            }
        }
    }

    /// The mean loss against a teacher's logits instead of the targets. It is the Kullback-Leibler divergence
    /// of the probabilities at [`TEMPERATURE`], times its square, which keeps the size of the gradient; for a
    /// number or a cosine it is the squared difference.
    pub(super) fn divergence(&self, logits: &Tensor, teacher: &Tensor, padded: &Padded) -> Result<Tensor> {
        match self {
            Targets::Labels(_) => divergence(logits, teacher),
            Targets::Values(_) => mse(logits, teacher),
            Targets::Spans(_) => {
                let [first, last] = scores_of_tokens(logits, padded)?;
                let [their_first, their_last] = scores_of_tokens(teacher, padded)?;
                (divergence(&first, &their_first)? + divergence(&last, &their_last)?)? / 2.0
            }
            Targets::Tags(tags) => {
                let rows = tags::rows(tags, logits.device())?;
                divergence(&logits.index_select(&rows, 0)?, &teacher.index_select(&rows, 0)?)
            }
            Targets::Cosines(_, poolings) => mse(
                &vectors::cosines(logits, poolings, padded)?,
                &vectors::cosines(teacher, poolings, padded)?,
            ),
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
