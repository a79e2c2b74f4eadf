//! What is run, and bounds of what is asked for, so that no measurement takes all memory or never ends.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use mobilebert::{Error, Result};

/// The largest number of passes that are timed, and of those before them.
const MAX_RUNS: usize = 1_000_000;
/// The largest number of operations that are recorded, of 40 bytes each.
const MAX_RECORDED: usize = 1 << 23;
/// The longest time that may be asked for: a day.
const MAX_SECS: f64 = 86_400.0;
/// The largest number of threads for each processor. More threads would only wait for each other.
const THREADS_EACH: usize = 4;
/// The number of threads that may be requested on every machine, so that a script written for a larger one
/// runs.
const THREADS_ANYWHERE: usize = 16;

/// Checks a number of threads. Every number of none is right, and 0 is left to the engine.
///
/// # Errors
/// [`mobilebert::ErrorKind::Option`] for `threads`.
pub fn check_threads(threads: Option<usize>) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = THREADS_ANYWHERE.max(THREADS_EACH.saturating_mul(processors));
    match threads {
        Some(threads) if threads > most => {
            let expected = format!("1 to {most} on this machine, which has {processors} processors");
            Err(Error::option("threads", expected, threads))
        }
        _ => Ok(()),
    }
}

/// What is run, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// The tokens of each sequence.
    pub seq_len: usize,
    /// The sequences in a pass.
    pub batch: usize,
    /// The passes before the timed ones.
    pub warmup_runs: usize,
    /// The timed passes at least.
    pub num_runs: usize,
    /// The seconds of timed passes at least.
    pub min_secs: f64,
    /// The seconds after which no further pass begins.
    pub max_secs: f64,
}

/// Checks how often passes are timed, and how long.
pub(crate) fn check_runs(runs: &Runs) -> Result<()> {
    let least = usize::from(runs.min_secs == 0.0);
    check_passes(runs.warmup_runs, runs.num_runs, least..=MAX_RUNS)?;
    for (option, seconds) in [("min_secs", runs.min_secs), ("max_secs", runs.max_secs)] {
        // No comparison holds for NaN.
        if !(0.0..=MAX_SECS).contains(&seconds) {
            return Err(Error::option(option, format!("0 to {MAX_SECS} seconds"), seconds));
        }
    }
    Ok(())
}

/// Checks how often passes of so many operations are recorded.
pub(crate) fn check_recorded(operations: usize, warmup_runs: usize, num_runs: usize) -> Result<()> {
    let most = (MAX_RECORDED / operations.max(1)).clamp(1, MAX_RUNS);
    check_passes(warmup_runs, num_runs, 1..=most)
}

fn check_passes(warmup_runs: usize, num_runs: usize, range: RangeInclusive<usize>) -> Result<()> {
    for (option, found, range) in [("num_runs", num_runs, range), ("warmup_runs", warmup_runs, 0..=MAX_RUNS)]
    {
        if !range.contains(&found) {
            return Err(Error::option(option, format!("{} to {}", range.start(), range.end()), found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mobilebert::ErrorKind;

    use super::*;

    const RUNS: Runs =
        Runs { seq_len: 8, batch: 1, warmup_runs: 0, num_runs: 1, min_secs: 0.0, max_secs: 1.0 };

    fn option(result: Result<()>) -> &'static str {
        match result.as_ref().map_err(Error::kind) {
            Ok(()) => "",
            Err(ErrorKind::Option { option, .. }) => option,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn runs_have_bounds() {
        for (runs, expected) in [
            (RUNS, ""),
            (Runs { num_runs: MAX_RUNS, warmup_runs: MAX_RUNS, ..RUNS }, ""),
            (Runs { num_runs: MAX_RUNS + 1, ..RUNS }, "num_runs"),
            (Runs { warmup_runs: usize::MAX, ..RUNS }, "warmup_runs"),
            (Runs { num_runs: 0, ..RUNS }, "num_runs"),
            (Runs { num_runs: 0, min_secs: 0.1, ..RUNS }, ""),
            (Runs { min_secs: f64::INFINITY, ..RUNS }, "min_secs"),
            (Runs { min_secs: -1.0, ..RUNS }, "min_secs"),
            (Runs { max_secs: f64::NAN, ..RUNS }, "max_secs"),
            (Runs { max_secs: MAX_SECS, ..RUNS }, ""),
        ] {
            assert_eq!(option(check_runs(&runs)), expected, "{runs:?}");
        }
    }

    #[test]
    fn recorded_passes_have_bounds() {
        assert_eq!(option(check_recorded(1000, 0, 1)), "");
        assert_eq!(option(check_recorded(1000, 0, MAX_RECORDED / 1000)), "");
        assert_eq!(option(check_recorded(1000, 0, MAX_RECORDED / 1000 + 1)), "num_runs");
        assert_eq!(option(check_recorded(usize::MAX, 0, 1)), "");
        assert_eq!(option(check_recorded(1, MAX_RUNS + 1, 1)), "warmup_runs");
        assert_eq!(option(check_recorded(1, 0, 0)), "num_runs");
    }

    #[test]
    fn threads_have_a_bound() {
        assert_eq!(option(check_threads(None)), "");
        assert_eq!(option(check_threads(Some(THREADS_ANYWHERE))), "");
        assert_eq!(option(check_threads(Some(usize::MAX))), "threads");
    }
}
