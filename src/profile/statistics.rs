//! Summarises repeated measurements.

use serde::Serialize;

/// Percentiles, mean and standard deviation of samples, in the unit of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Number of samples.
    pub runs: usize,
    /// Smallest.
    pub min: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Summary {
    /// The distance between the quartiles, relative to the median. It shows how noisy the machine was, and a
    /// single outlier does not change it.
    pub fn spread(samples: &[f64]) -> f64 {
        let sorted = sorted(samples);
        let median = percentile(&sorted, 0.5);
        if median > 0.0 { (percentile(&sorted, 0.75) - percentile(&sorted, 0.25)) / median } else { 0.0 }
    }
}

/// Summarises samples; `None` if there are none.
pub fn summarize(samples: &[f64]) -> Option<Summary> {
    let sorted = sorted(samples);
    let (&min, &max) = (sorted.first()?, sorted.last()?);
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let variance = sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let p = |q| percentile(&sorted, q);
    let (p50, p90, p95, p99) = (p(0.5), p(0.9), p(0.95), p(0.99));
    Some(Summary { runs: sorted.len(), min, mean, std: variance.sqrt(), p50, p90, p95, p99, max })
}

pub(super) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// A percentile, interpolated linearly between the nearest ranks; 0 if there are no samples.
pub(super) fn percentile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = q * last as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

pub(super) fn median(samples: &[f64]) -> f64 {
    percentile(&sorted(samples), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_the_nearest_ranks() {
        let summary = summarize(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.min, summary.p50, summary.max, summary.mean), (1.0, 2.5, 4.0, 2.5));
        assert!((summary.p90 - 3.7).abs() < 1e-12);
        assert_eq!(summarize(&[7.0]).unwrap().p99, 7.0);
        assert_eq!(summarize(&[]), None);
        assert_eq!(Summary::spread(&[5.0; 9]), 0.0);
        assert_eq!(Summary::spread(&[]), 0.0);
    }
}
