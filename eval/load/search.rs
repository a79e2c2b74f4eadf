//! The highest rate at which a server keeps a bound.

/// The rate is found to within this factor.
const FINE: f64 = 1.06;
/// A rate that does not hold a second time is lowered by this.
const LOWER: f64 = 0.95;
/// The most runs of a search, which is more than a factor of a million takes.
const MOST_RUNS: usize = 40;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// The highest rate that held.
    pub(super) rate: f64,
    /// True if none failed a little above it, because the search ended before.
    pub(super) at_least: bool,
}

/// Finds the highest rate for which `holds` is true, if it is true below and false above. Rates grow by half
/// until one fails, or shrink by half until one holds, and then close in.
///
/// The result is `None` if nothing above `least` holds.
pub(super) fn highest<E>(
    start: f64,
    least: f64,
    most: f64,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Option<Found>, E> {
    let (mut low, mut high) = (None, None);
    let mut rate = start.clamp(least, most);
    for _ in 0..MOST_RUNS {
        match holds(rate)? {
            true => low = Some(rate),
            false => high = Some(rate),
        }
        rate = match (low, high) {
            (Some(rate), Some(high)) if high / rate <= FINE => {
                return Ok(Some(Found { rate, at_least: false }));
            }
            (Some(low), Some(high)) => f64::sqrt(low * high),
            (Some(rate), None) if rate >= most => return Ok(Some(Found { rate, at_least: true })),
            (Some(low), None) => (low * 1.5).min(most),
            (None, Some(high)) if high <= least => return Ok(None),
            (None, Some(high)) => (high / 2.0).max(least),
            // One of them was set above.
            (None, None) => return Ok(None),
        };
    }
    Ok(low.map(|rate| Found { rate, at_least: true }))
}

/// Lowers a rate until it holds as often as is asked of it. The first rate has held once already; a lower one
/// has not, so it has to hold twice.
///
/// The result is `None` if that takes more than `most` rates.
pub(super) fn confirmed<E>(
    found: Found,
    most: usize,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Option<Found>, E> {
    let Found { mut rate, mut at_least } = found;
    for round in 0..most {
        if holds(rate)? && (round == 0 || holds(rate)?) {
            return Ok(Some(Found { rate, at_least }));
        }
        // Another rate failed a little above the next one.
        (rate, at_least) = (rate * LOWER, false);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(start: f64, limit: f64) -> (Option<f64>, usize) {
        let mut runs = 0;
        let rate = highest(start, 0.5, 1e6, |rate| {
            runs += 1;
            Ok::<_, ()>(rate <= limit)
        });
        (rate.unwrap().map(|found| found.rate), runs)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for (start, limit) in [(10.0, 317.0), (5000.0, 317.0), (317.0, 317.0), (0.6, 2.0), (1.0, 90_000.0)] {
            let (rate, runs) = found(start, limit);
            let rate = rate.unwrap();
            assert!(rate <= limit && rate * FINE >= limit * 0.999, "{rate} for {limit}");
            assert!(runs < 40, "{runs}");
        }
        assert_eq!(found(10.0, 0.1).0, None);
        let all = |rate| highest(10.0, 0.5, 1e6, |asked| Ok::<_, ()>(asked <= rate)).unwrap().unwrap();
        assert_eq!(all(1e9), Found { rate: 1e6, at_least: true });
        assert!(!all(317.0).at_least);
    }

    /// Returns what is confirmed, and the rates that were tried, if the runs end like this.
    fn confirm(at_least: bool, held: &[bool]) -> (Option<Found>, Vec<f64>) {
        let (mut tried, mut held) = (Vec::new(), held.iter());
        let found = confirmed(Found { rate: 100.0, at_least }, 3, |rate| {
            tried.push(rate);
            Ok::<_, ()>(*held.next().unwrap())
        });
        (found.unwrap(), tried)
    }

    #[test]
    fn every_rate_holds_twice() {
        let of = |rate, at_least| Some(Found { rate, at_least });
        assert_eq!(confirm(true, &[true]), (of(100.0, true), vec![100.0]));
        assert_eq!(confirm(true, &[false, true, true]), (of(95.0, false), vec![100.0, 95.0, 95.0]));
        let (found, tried) = confirm(false, &[false, true, false, true, true]);
        assert!(found == of(95.0 * LOWER, false) && tried.len() == 5, "{tried:?}");
        let (found, tried) = confirm(false, &[false, false, true, false]);
        assert!(found.is_none() && tried.len() == 4, "{tried:?}");
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(highest(1.0, 0.5, 2.0, |_| Err("gone")), Err("gone"));
    }
}
