//! MLPerf's early-stopping rule, which says how many queries are enough to claim a percentile.
//!
//! A latency may be claimed for the p-th percentile if so few queries are slower that this would have a
//! probability of at most 1 - c, were the true percentile higher. For `t` slower ones among `n` queries, that
//! probability is the binomial sum over `i <= t` of `C(n, i) (1 - p)^i p^(n - i)`; c is 0.99. At least one
//! query is discarded. Therefore the 90th percentile takes 64 queries and the 99th 662, as MLPerf publishes.

/// The confidence of a claim.
const CONFIDENCE: f64 = 0.99;

/// Whether so few of the queries (`over` of `queries`) are above a bound that the percentile can be claimed
/// to be below it.
pub(crate) fn passes(queries: usize, over: usize, percentile: f64) -> bool {
    queries > over && tail(queries, over, percentile) <= 1.0 - CONFIDENCE
}

/// The probability of at most `over` queries above the percentile.
fn tail(queries: usize, over: usize, percentile: f64) -> f64 {
    let n = queries as f64;
    let odds = ((1.0 - percentile) / percentile).ln();
    let mut log_term = n * percentile.ln();
    let mut sum = log_term.exp();
    for i in 1..=over {
        log_term += ((n - i as f64 + 1.0) / i as f64).ln() + odds;
        sum += log_term.exp();
    }
    sum
}

/// The fewest queries that allow a claim.
pub(crate) fn fewest(percentile: f64) -> usize {
    (1..).find(|&n| passes(n, 1, percentile)).unwrap_or(usize::MAX)
}

/// A percentile that the queries support.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    /// The claimed latency, in the unit of the latencies. It is above the percentile of the sample.
    pub(crate) latency: f64,
    /// How many higher latencies it leaves out.
    pub(crate) discarded: usize,
}

/// The lowest latency that can be claimed for the percentile; `None` if there are too few queries.
pub(crate) fn estimate(sorted: &[f64], percentile: f64) -> Option<Estimate> {
    let n = sorted.len();
    if !passes(n, 1, percentile) {
        return None;
    }
    let (mut low, mut high) = (1, n);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if passes(n, middle, percentile) { low = middle } else { high = middle }
    }
    Some(Estimate { latency: sorted[n - low], discarded: low - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_minima() {
        assert_eq!((fewest(0.9), fewest(0.99)), (64, 662));
    }

    #[test]
    fn claims_lie_above_the_percentile_and_come_closer_with_more_queries() {
        let sorted = |n: usize| (0..n).map(|i| i as f64 / n as f64).collect::<Vec<_>>();
        assert_eq!(estimate(&sorted(63), 0.9), None);
        assert_eq!(estimate(&sorted(64), 0.9), Some(Estimate { latency: 63.0 / 64.0, discarded: 0 }));
        let claims: Vec<f64> =
            [64, 500, 5_000, 50_000].map(|n| estimate(&sorted(n), 0.9).unwrap().latency).to_vec();
        assert!(claims.is_sorted_by(|a, b| a > b) && claims[3] > 0.9 && claims[3] < 0.91, "{claims:?}");
    }

    #[test]
    fn the_tail_is_that_of_the_binomial_distribution() {
        // 1 - p^n for no query, by hand for three.
        assert!((tail(10, 0, 0.9) - 0.9f64.powi(10)).abs() < 1e-12);
        assert!((tail(3, 1, 0.5) - 0.5).abs() < 1e-12);
        assert!((tail(3, 3, 0.5) - 1.0).abs() < 1e-12);
    }
}
