//! Confidence intervals of scores: Wilson's interval for shares, and the bootstrap for other scores. The same
//! numbers and seed give the same interval on every machine.

use serde::Serialize;

/// The 97.5 % quantile of the normal distribution, for intervals that contain the true value 95 % of the
/// time.
const Z95: f64 = 1.959_963_984_540_054;

/// The number of resamples of a bootstrap. With so many, another seed moves the ends by about 1 % of their
/// distance.
pub const RESAMPLES: usize = 10_000;

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value is inside.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Wilson's score interval (Wilson 1927) of `successes` in `total` trials, as shares. It is 0..1 if there are
/// no trials.
///
/// ```
/// let interval = mobilebert_tools::metrics::interval::wilson(8, 10);
/// assert!((interval.low - 0.490).abs() < 1e-3 && (interval.high - 0.943).abs() < 1e-3);
/// ```
pub fn wilson(successes: usize, total: usize) -> Interval {
    if total == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p, z2) = (total as f64, successes as f64 / total as f64, Z95 * Z95);
    let centre = p + z2 / (2.0 * n);
    let margin = Z95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    Interval { low: ((centre - margin) / scale).max(0.0), high: ((centre + margin) / scale).min(1.0) }
}

/// The percentile bootstrap (Efron 1979) of any score of `n` items. `statistic` computes the score from the
/// indices of one resample; resamples for which it is NaN are left out. Returns `None` if all are NaN, or if
/// there are no items.
pub fn bootstrap(
    n: usize,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> f64,
) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let mut random = Random(seed);
    let mut indices = vec![0; n];
    let mut values: Vec<f64> = (0..resamples)
        .map(|_| {
            indices.iter_mut().for_each(|index| *index = random.below(n));
            statistic(&indices)
        })
        .filter(|value| !value.is_nan())
        .collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = |share: f64| values[(share * last as f64).round() as usize];
    Some(Interval { low: at(0.025), high: at(0.975) })
}

/// The bootstrap interval of a mean.
///
/// ```
/// use mobilebert_tools::metrics::interval::bootstrap_mean;
///
/// let scores: Vec<f64> = (0..400).map(|i| f64::from(i % 4 > 0)).collect();
/// let interval = bootstrap_mean(&scores, 1000, 7).unwrap();
/// assert!(interval.contains(0.75) && interval.high - interval.low < 0.1);
/// ```
pub fn bootstrap_mean(values: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    let n = values.len() as f64;
    bootstrap(values.len(), resamples, seed, |indices| indices.iter().map(|&i| values[i]).sum::<f64>() / n)
}

/// The interval of `mean(b) - mean(a)` for two scores of each item. It resamples the differences of the
/// items, so that items that are hard for both do not widen it.
///
/// # Panics
/// If the lists differ in length.
pub fn paired_bootstrap(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    assert_eq!(a.len(), b.len());
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    bootstrap_mean(&differences, resamples, seed)
}

/// McNemar's exact test (McNemar 1947) of two models on the same items. Only one of the models gets `only_a +
/// only_b` items right. The result is the probability of a split at least as uneven as `only_a` to `only_b`
/// if both models are equally good: two-sided, by the binomial distribution.
///
/// ```
/// let p = mobilebert_tools::metrics::interval::mcnemar(1, 9);
/// assert!((p - 22.0 / 1024.0).abs() < 1e-12);
/// ```
pub fn mcnemar(only_a: usize, only_b: usize) -> f64 {
    let n = (only_a + only_b) as f64;
    let mut log = -n * std::f64::consts::LN_2;
    let mut tail = log.exp();
    for k in 0..only_a.min(only_b) {
        log += ((n - k as f64) / (k as f64 + 1.0)).ln();
        tail += log.exp();
    }
    (2.0 * tail).min(1.0)
}

/// SplitMix64 (Steele, Lea, Flood 2014), a deterministic generator for resampling and arrival times.
///
/// ```
/// use mobilebert_tools::metrics::interval::Random;
///
/// assert_eq!(Random::new(0).next(), 0xe220_a839_7b1d_cdaf);
/// ```
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that always gives the same numbers for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for `n` = 0. The bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A number in 0..1, a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_stays_inside_and_knows_its_ends() {
        assert_eq!(wilson(0, 0), Interval { low: 0.0, high: 1.0 });
        let (none, all) = (wilson(0, 20), wilson(20, 20));
        assert!(none.low == 0.0 && (none.high - 0.161_1).abs() < 1e-4);
        let most = wilson(8, 10);
        assert!((most.low - 0.490_2).abs() < 1e-4 && (most.high - 0.943_3).abs() < 1e-4);
        assert!(most.contains(most.low) && most.contains(most.high) && !most.contains(0.49));
        assert!((all.low - 0.838_9).abs() < 1e-4 && all.high == 1.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * 7 % 11)).collect();
        let interval = bootstrap_mean(&values, 500, 3);
        assert_eq!(interval, bootstrap_mean(&values, 500, 3));
        assert_ne!(interval, bootstrap_mean(&values, 500, 4));
        assert_eq!(bootstrap_mean(&[], 500, 3), None);
    }

    #[test]
    fn the_interval_leaves_out_a_fortieth_at_each_end() {
        let mut called = 0u32;
        let odd = |indices: &[usize]| {
            assert!(indices.len() == 7 && indices.iter().all(|&index| index < 7));
            called += 1;
            if called.is_multiple_of(2) { f64::NAN } else { f64::from(called) }
        };
        // The values 1, 3, ..., 2021: the ends are at 25.25 and 984.75 of 0 to 1010.
        assert_eq!(bootstrap(7, 2021, 0, odd), Some(Interval { low: 51.0, high: 1971.0 }));
    }

    #[test]
    fn random_numbers_are_spread_evenly() {
        let (mut random, mut counts) = (Random::new(9), [0; 5]);
        (0..5000).for_each(|_| counts[random.below(5)] += 1);
        // Four standard deviations of a binomial count: 4 * sqrt(5000 * 0.2 * 0.8).
        assert!(counts.iter().all(|&count: &i32| (count - 1000).abs() < 113), "{counts:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn the_interval_is_as_wide_as_theory_says() {
        let mut random = Random::new(1);
        let values: Vec<f64> = (0..1000).map(|_| random.unit()).collect();
        let interval = bootstrap_mean(&values, RESAMPLES, 2).unwrap();
        // Standard error of the mean of 1000 uniform numbers: sqrt(1 / 12 / 1000).
        let expected = 2.0 * Z95 * (1.0f64 / 12.0 / 1000.0).sqrt();
        assert!(((interval.high - interval.low) / expected - 1.0).abs() < 0.05, "{interval:?}");
    }

    #[test]
    fn mcnemar_is_symmetric_and_knows_its_ends() {
        assert_eq!((mcnemar(0, 0), mcnemar(5, 5), mcnemar(3, 4)), (1.0, 1.0, 1.0));
        assert_eq!(mcnemar(2, 11), mcnemar(11, 2));
        assert!((mcnemar(0, 6) - 2.0 / 64.0).abs() < 1e-15);
        // The same sum in rational numbers.
        assert!(
            (mcnemar(4600, 5400) / 1.304_245_212_740_020_3e-15 - 1.0).abs() < 1e-9,
            "{:e}",
            mcnemar(4600, 5400)
        );
    }

    #[test]
    fn pairs_hide_what_is_hard_for_both() {
        let mut random = Random::new(5);
        let a: Vec<f64> = (0..200).map(|_| 100.0 * random.unit()).collect();
        let b: Vec<f64> = a.iter().map(|x| x + 1.0).collect();
        let interval = paired_bootstrap(&a, &b, 200, 6).unwrap();
        assert!((interval.low - 1.0).abs() < 1e-9 && (interval.high - 1.0).abs() < 1e-9);
        assert_eq!(bootstrap(3, 10, 0, |_| f64::NAN), None);
    }
}
