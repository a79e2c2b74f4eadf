//! Compares two profiles and finds the operations that became slower or faster beyond noise and drift.

use serde::Serialize;

use super::report::{OpProfile, Profile};
use super::statistics::median;

/// Probability of at least one false alarm among all operations.
const FAMILY_ERROR: f64 = 0.01;

/// Smaller changes are not reported, however certain they are, because code layout and alignment cause
/// changes of this size.
const LEAST_CHANGE: f64 = 0.02;

/// An operation whose time changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The operation's name.
    pub name: String,
    /// Median microseconds before.
    pub before_us: f64,
    /// Median microseconds after.
    pub after_us: f64,
    /// `after / before`, divided by the drift that all operations share.
    pub ratio: f64,
    /// Probability of a difference this large if nothing had changed (Mann-Whitney U test, two-sided).
    pub p_value: f64,
}

/// The differences between two profiles.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Diff {
    /// `after / before` of the median wall time.
    pub wall_ratio: f64,
    /// Median of the ratios of all operations. It shows a machine that became slower or faster as a whole.
    pub drift: f64,
    /// The operations that changed, largest change first.
    pub changes: Vec<Change>,
    /// Names of the operations that only one profile has.
    pub unmatched: Vec<String>,
    /// In what the profiles differ beside time, as `threads: 1 and 2`. Their times then say little about the code.
    pub unlike: Vec<String>,
    /// Whether the passes are so few that no change could have been significant.
    pub too_few_passes: bool,
}

/// Compares operations by name. A change is reported if it is at least 2 % and significant: a rank test over
/// the passes, corrected for the number of operations (Bonferroni), keeps the probability of any false alarm
/// below 1 %.
pub fn diff(before: &Profile, after: &Profile) -> Diff {
    let matched: Vec<_> = before
        .ops
        .iter()
        .filter_map(|b| after.ops.iter().find(|a| a.info.name == b.info.name).map(|a| (b, a)))
        .filter(|(b, a)| median(&b.ns) > 0.0 && median(&a.ns) > 0.0)
        .collect();
    let names = |profile: &Profile| profile.ops.iter().map(|op| op.info.name.clone()).collect::<Vec<_>>();
    let (known_before, known_after) = (names(before), names(after));
    let only_before = known_before.iter().filter(|n| !known_after.contains(n));
    let only_after = known_after.iter().filter(|n| !known_before.contains(n));

    let ratios: Vec<f64> = matched.iter().map(|(b, a)| median(&a.ns) / median(&b.ns)).collect();
    let drift = if ratios.is_empty() { 1.0 } else { median(&ratios) };
    let significant = FAMILY_ERROR / matched.len().max(1) as f64;
    let mut changes: Vec<Change> = matched
        .iter()
        .zip(&ratios)
        .map(|((b, a), ratio)| {
            let scaled: Vec<f64> = a.ns.iter().map(|ns| ns / drift).collect();
            Change {
                name: b.info.name.clone(),
                before_us: median(&b.ns) / 1e3,
                after_us: median(&a.ns) / 1e3,
                ratio: ratio / drift,
                p_value: mann_whitney(&b.ns, &scaled),
            }
        })
        .filter(|c| c.p_value < significant && (c.ratio - 1.0).abs() >= LEAST_CHANGE)
        .collect();
    changes.sort_by(|a, b| b.ratio.ln().abs().total_cmp(&a.ratio.ln().abs()));
    let is_too_few = |(b, a): &(&OpProfile, &OpProfile)| least_p_value(b.ns.len(), a.ns.len()) >= significant;
    let too_few_passes = !matched.is_empty() && matched.iter().all(is_too_few);
    let wall = |profile: &Profile| median(&profile.wall_ns);
    let wall_ratio = if wall(before) > 0.0 { wall(after) / wall(before) } else { 1.0 };
    Diff {
        wall_ratio,
        drift,
        changes,
        unmatched: only_before.chain(only_after).cloned().collect(),
        unlike: unlike(before, after, &matched),
        too_few_passes,
    }
}

/// Returns in what two profiles differ beside the time of their operations.
fn unlike(before: &Profile, after: &Profile, matched: &[(&OpProfile, &OpProfile)]) -> Vec<String> {
    let mut found = Vec::new();
    let numbers = [
        ("threads", before.threads, after.threads),
        ("tokens of a pass", before.tokens, after.tokens),
        ("operations", before.ops.len(), after.ops.len()),
    ];
    for (name, before, after) in numbers {
        if before != after {
            found.push(format!("{name}: {before} and {after}"));
        }
    }
    if let Some((b, a)) = matched.iter().find(|(b, a)| b.info.shape != a.info.shape) {
        found.push(format!("shape of {}: {:?} and {:?}", b.info.name, b.info.shape, a.info.shape));
    }
    found
}

/// Returns the p-value of so many passes if all of those after took longer than all before.
fn least_p_value(before: usize, after: usize) -> f64 {
    let times: Vec<f64> = (0..before + after).map(|i| i as f64).collect();
    mann_whitney(&times[..before], &times[before..])
}

/// Two-sided p-value of the Mann-Whitney U test, by its normal approximation with tie correction.
fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let mut pooled: Vec<(f64, bool)> =
        a.iter().map(|&x| (x, true)).chain(b.iter().map(|&x| (x, false))).collect();
    pooled.sort_by(|x, y| x.0.total_cmp(&y.0));
    let (mut rank_sum, mut ties, mut i) = (0.0, 0.0, 0);
    while i < pooled.len() {
        let group = pooled[i..].iter().take_while(|x| x.0 == pooled[i].0).count();
        let rank = i as f64 + (group as f64 + 1.0) / 2.0;
        rank_sum += rank * pooled[i..i + group].iter().filter(|x| x.1).count() as f64;
        ties += (group as f64).powi(3) - group as f64;
        i += group;
    }
    let u = rank_sum - n * (n + 1.0) / 2.0;
    let total = n + m;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - n * m / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    erfc(z / std::f64::consts::SQRT_2)
}

/// Complementary error function for x >= 0 (Numerical Recipes' Chebyshev fit, relative error below 1.2e-7).
fn erfc(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.26551223,
        1.00002368,
        0.37409196,
        0.09678418,
        -0.18628806,
        0.27886807,
        -1.13520398,
        1.48851587,
        -0.82215223,
        0.17087277,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| sum * t + c);
    t * (-x * x + polynomial).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{OpInfo, OpKind, OpProfile};

    const OPS: usize = 300;
    const PASSES: usize = 60;

    /// Pseudo-random times with 3 % noise, some passes that are slower as a whole, and a drift.
    fn profile(seed: u64, drift: f64, slowed: Option<(usize, f64)>) -> Profile {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let busy: Vec<f64> = (0..PASSES).map(|_| if uniform() < 0.1 { 1.3 } else { 1.0 }).collect();
        let mut op = |i: usize| {
            let info = OpInfo {
                name: format!("op {i}"),
                kind: OpKind::Linear,
                layer: None,
                shape: [0, 0],
                kernel: String::new(),
                weight_bytes: 0,
            };
            let slow = slowed.filter(|(op, _)| *op == i).map_or(1.0, |(_, factor)| factor);
            let base = 1e4 * (1.0 + i as f64 / 100.0) * slow * drift;
            let ns = (0..PASSES).map(|p| base * busy[p] * (1.0 + 0.06 * (uniform() - 0.5))).collect();
            OpProfile { info, count: 1.0, macs: 0.0, ns }
        };
        let ops = (0..OPS).map(&mut op).collect();
        Profile { threads: 1, tokens: 1, peak_gmacs: 0.0, wall_ns: busy, ops }
    }

    #[test]
    fn nothing_changed_from_a_to_a() {
        for seed in 0..20 {
            let found = diff(&profile(seed, 1.0, None), &profile(seed + 1000, 1.04, None));
            assert!(found.changes.is_empty(), "seed {seed}: {:?}", found.changes);
            assert!((found.drift - 1.04).abs() < 0.01);
        }
    }

    #[test]
    fn five_percent_in_one_operation_are_found() {
        for seed in 0..20 {
            let found = diff(&profile(seed, 1.0, None), &profile(seed + 1000, 0.97, Some((17, 1.05))));
            let names: Vec<&str> = found.changes.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, ["op 17"], "seed {seed}");
            assert!((found.changes[0].ratio - 1.05).abs() < 0.02);
        }
    }

    #[test]
    fn profiles_of_other_runs_and_too_short_ones_are_named() {
        let (mut before, mut after) = (profile(1, 1.0, None), profile(2, 1.0, None));
        let found = diff(&before, &after);
        assert_eq!((found.unlike, found.too_few_passes), (Vec::new(), false));
        (after.threads, after.tokens) = (2, 384);
        after.ops[3].info.shape = [8, 4];
        after.ops.pop();
        let unlike = diff(&before, &after).unlike;
        let expected = [
            "threads: 1 and 2",
            "tokens of a pass: 1 and 384",
            "operations: 300 and 299",
            "shape of op 3: [0, 0] and [8, 4]",
        ];
        assert_eq!(unlike, expected);
        for op in before.ops.iter_mut().chain(&mut after.ops) {
            op.ns.truncate(5);
        }
        assert!(diff(&before, &after).too_few_passes);
    }

    #[test]
    fn the_rank_test_knows_its_extremes() {
        let low: Vec<f64> = (0..30).map(f64::from).collect();
        let high: Vec<f64> = (100..130).map(f64::from).collect();
        assert!(mann_whitney(&low, &high) < 1e-9);
        assert!(mann_whitney(&low, &low) > 0.9);
        assert_eq!(mann_whitney(&[], &low), 1.0);
        assert_eq!(mann_whitney(&[1.0; 5], &[1.0; 5]), 1.0);
        assert!((erfc(0.0) - 1.0).abs() < 1e-6 && (erfc(1.0) - 0.157_299_2).abs() < 1e-6);
    }
}
