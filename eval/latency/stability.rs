//! Tells whether other programs ran during a measurement, or the machine's speed changed.

use mobilebert::profile::{Summary, summarize};
use serde::{Deserialize, Serialize};

/// Largest distance of the quartiles of a fixed piece of work, relative to its median. More is noise.
const MAX_SPREAD: f64 = 0.10;
/// Largest difference between its last third and its first one. More is drift, by clock rates or heat.
const MAX_DRIFT: f64 = 0.05;
/// The least number of probes to judge by.
const FEWEST: usize = 6;

/// How steadily a fixed piece of work ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stability {
    pub(crate) probes: usize,
    pub(crate) median_ms: f64,
    /// Distance of the quartiles relative to the median.
    pub(crate) spread: f64,
    /// Median of the last third divided by that of the first, minus 1.
    pub(crate) drift: f64,
    pub(crate) stable: bool,
}

impl Stability {
    /// Judges by `probes`, times in milliseconds in the order of their measurement.
    pub(crate) fn of(probes: &[f64]) -> Self {
        let median = |part: &[f64]| summarize(part).map_or(f64::NAN, |s| s.p50);
        let third = probes.len() / 3;
        let drift = match third {
            0 => 0.0,
            _ => median(&probes[probes.len() - third..]) / median(&probes[..third]) - 1.0,
        };
        let spread = Summary::spread(probes);
        let stable = probes.len() >= FEWEST && spread <= MAX_SPREAD && drift.abs() <= MAX_DRIFT;
        Self { probes: probes.len(), median_ms: median(probes), spread, drift, stable }
    }

    /// A description of the disturbance, if there was one.
    pub(crate) fn problem(&self) -> Option<String> {
        let (spread, drift) = (100.0 * self.spread, 100.0 * self.drift);
        match () {
            () if self.stable => None,
            () if self.probes < FEWEST => {
                Some(format!("{} probes are too few: raise --duration", self.probes))
            }
            () if self.spread > MAX_SPREAD => {
                Some(format!("the machine is busy: a fixed piece of work has quartiles {spread:.0} % apart"))
            }
            () => Some(format!("the machine's speed drifts: a fixed piece of work changed by {drift:+.0} %")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_noisy_drifting_and_too_short() {
        let steady: Vec<f64> = (0..30).map(|i| 1.0 + 0.01 * f64::from(i % 3)).collect();
        assert!(Stability::of(&steady).stable && Stability::of(&steady).problem().is_none());
        let noisy: Vec<f64> = (0..30).map(|i| 1.0 + 0.3 * f64::from(i % 3)).collect();
        assert!(Stability::of(&noisy).problem().unwrap().contains("busy"));
        let drifting: Vec<f64> = (0..30).map(|i| 1.0 + 0.003 * f64::from(i)).collect();
        let found = Stability::of(&drifting);
        assert!(found.drift > 0.05 && found.problem().unwrap().contains("drifts"), "{found:?}");
        assert!(Stability::of(&[1.0; 5]).problem().unwrap().contains("too few"));
        assert!(!Stability::of(&[]).stable);
    }
}
