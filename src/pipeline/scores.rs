//! Logits to scores, and the best of them.

use std::cmp::Ordering;

use crate::config::ProblemType;
use crate::error::{Error, Result};

/// What turns a classifier's logits into scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FunctionToApply {
    /// By the model's `problem_type`: none for regression, sigmoid for multi-label or a single output, else softmax.
    #[default]
    Auto,
    /// Probabilities that sum to 1.
    Softmax,
    /// Each on its own in 0..1.
    Sigmoid,
    /// The logits as they are.
    None,
}

impl std::str::FromStr for FunctionToApply {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "softmax" => Ok(Self::Softmax),
            "sigmoid" => Ok(Self::Sigmoid),
            "none" => Ok(Self::None),
            other => Err(Error::option(
                "function_to_apply",
                "`auto`, `softmax`, `sigmoid` or `none`",
                format!("`{other}`"),
            )),
        }
    }
}

impl FunctionToApply {
    /// Scores of one row of logits. Hugging Face's default for a model that does not say what it is: one output is
    /// scored by a sigmoid, more by a softmax.
    pub(super) fn apply(self, logits: &[f32], problem: Option<ProblemType>) -> Vec<f32> {
        let resolved = match (self, problem, logits.len()) {
            (Self::Auto, Some(ProblemType::Regression), _) => Self::None,
            (Self::Auto, Some(ProblemType::MultiLabel), _) | (Self::Auto, _, 1) => Self::Sigmoid,
            (Self::Auto, _, _) => Self::Softmax,
            (chosen, _, _) => chosen,
        };
        match resolved {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect(),
            Self::Auto | Self::None => logits.to_vec(),
        }
    }
}

/// `exp(x - max) / sum`.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut scores: Vec<f32> = logits.iter().map(|&x| (x - max).exp()).collect();
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
    scores
}

/// Descending by score; equal scores keep the given order of `tie`.
pub(super) fn best_first<T>(
    score: impl Fn(&T) -> f32,
    tie: impl Fn(&T, &T) -> Ordering,
) -> impl Fn(&T, &T) -> Ordering {
    move |a, b| score(b).total_cmp(&score(a)).then_with(|| tie(a, b))
}

/// Indices of the `k` largest scores, best first; equal scores by index.
pub(super) fn top_k(scores: &[f32], k: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..scores.len()).collect();
    let order = best_first(|&i: &usize| scores[i], usize::cmp);
    if k < indices.len() && k > 0 {
        indices.select_nth_unstable_by(k - 1, &order);
    }
    indices.truncate(k);
    indices.sort_unstable_by(order);
    indices
}
