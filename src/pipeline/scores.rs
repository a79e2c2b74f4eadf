//! The step from logits to scores, and the choice of the best scores.

use std::cmp::Ordering;

use super::exp::{exp, sigmoid};
use serde::{Deserialize, Serialize};

use crate::config::ProblemType;
use crate::error::{Error, Result};

/// The function that turns a classifier's logits into scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FunctionToApply {
    /// The function that fits the model's `problem_type`: none for regression, a sigmoid for multi-label or a
    /// single output, and otherwise a softmax.
    #[default]
    Auto,
    /// A softmax, which gives probabilities that sum to 1.
    Softmax,
    /// A sigmoid, which scores each label on its own in 0..1.
    Sigmoid,
    /// No function. The scores are the logits.
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
    /// Computes the scores of one row of logits. For a model that does not say what it is, Hugging Face's
    /// default holds: one output is scored by a sigmoid, more by a softmax.
    pub(super) fn apply(self, logits: &[f32], problem: Option<ProblemType>) -> Vec<f32> {
        let resolved = match (self, problem, logits.len()) {
            (Self::Auto, Some(ProblemType::Regression), _) => Self::None,
            (Self::Auto, Some(ProblemType::MultiLabel), _) | (Self::Auto, _, 1) => Self::Sigmoid,
            (Self::Auto, _, _) => Self::Softmax,
            (chosen, _, _) => chosen,
        };
        match resolved {
            Self::Softmax => softmax(logits),
            Self::Sigmoid => logits.iter().map(|&x| sigmoid(x)).collect(),
            Self::Auto | Self::None => logits.to_vec(),
        }
    }
}

/// Computes `exp(x - max) / sum`, in f64 until the end, so the same logits have the same scores on every
/// machine.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = logits.iter().map(|&x| exp(f64::from(x) - max)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// Orders by descending score. Equal scores keep the order of `tie`.
pub(super) fn best_first<T>(
    score: impl Fn(&T) -> f32,
    tie: impl Fn(&T, &T) -> Ordering,
) -> impl Fn(&T, &T) -> Ordering {
    move |a, b| score(b).total_cmp(&score(a)).then_with(|| tie(a, b))
}

/// Returns the indices of the `k` largest scores, best first. Equal scores are in the order of their indices.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(scores: &[f32]) -> Vec<u32> {
        scores.iter().map(|score| score.to_bits()).collect()
    }

    /// Every machine has to compute the bits that x86-64 computed.
    #[test]
    fn bits_are_those_recorded() {
        let logits = [3.217, -1.5, 0.0, 3.2169998, -88.25, 12.0625, f32::MIN_POSITIVE];
        assert_eq!(bits(&softmax(&logits)), RECORDED.0);
        let sigmoids = FunctionToApply::Sigmoid.apply(&logits, None);
        assert_eq!(bits(&sigmoids), RECORDED.1);
    }

    const RECORDED: ([u32; 7], [u32; 7]) = (
        [0x3916_FAB4, 0x35AC_CE7D, 0x36C1_9DCA, 0x3916_FAB1, 0x0000_0013, 0x3F7F_EC49, 0x36C1_9DCA],
        [0x3F76_22D6, 0x3E3A_CDC2, 0x3F00_0000, 0x3F76_22D5, 0x0033_586B, 0x3F7F_FF9F, 0x3F00_0000],
    );

    #[test]
    fn the_best_scores_come_first_and_equal_ones_in_their_order() {
        let scores = [0.5, 2.0, 0.5, 3.0, 2.0];
        let best = [3, 1, 4, 0, 2];
        for k in 0..7 {
            assert_eq!(top_k(&scores, k), best[..k.min(5)], "{k}");
        }
        assert_eq!(top_k(&[], 3), [0; 0]);
    }

    #[test]
    fn softmax_takes_any_finite_logits() {
        assert_eq!(softmax(&[f32::MAX, f32::MIN]), [1.0, 0.0]);
        assert_eq!(softmax(&[-3e38, -3e38]), [0.5, 0.5]);
        assert_eq!(softmax(&[]), [0.0; 0]);
        let sum: f32 = softmax(&[1.0, 2.0, 3.0, -4.0]).iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    }
}
