//! The highest rate at which a server keeps a bound.

/// The rate is found to within this factor.
const FINE: f64 = 1.06;
/// The most runs of a search, which is more than a factor of a million takes.
const MOST_RUNS: usize = 40;

/// Finds the highest rate for which `holds` is true, if it is true below and false above. Rates grow by half
/// until one fails, or shrink by half until one holds, and then close in.
///
/// The result is `None` if nothing above `least` holds.
pub(super) fn highest<E>(
    start: f64,
    least: f64,
    most: f64,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Option<f64>, E> {
    let (mut low, mut high) = (None, None);
    let mut rate = start.clamp(least, most);
    for _ in 0..MOST_RUNS {
        match holds(rate)? {
            true => low = Some(rate),
            false => high = Some(rate),
        }
        rate = match (low, high) {
            (Some(low), Some(high)) if high / low <= FINE => return Ok(Some(low)),
            (Some(low), Some(high)) => f64::sqrt(low * high),
            (Some(low), None) if low >= most => return Ok(Some(low)),
            (Some(low), None) => (low * 1.5).min(most),
            (None, Some(high)) if high <= least => return Ok(None),
            (None, Some(high)) => (high / 2.0).max(least),
            // One of them was set above.
            (None, None) => return Ok(None),
        };
    }
    Ok(low)
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
        (rate.unwrap(), runs)
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
        assert_eq!(found(10.0, 1e9).0, Some(1e6));
    }

    #[test]
    fn an_error_ends_the_search() {
        assert_eq!(highest(1.0, 0.5, 2.0, |_| Err("gone")), Err("gone"));
    }
}
