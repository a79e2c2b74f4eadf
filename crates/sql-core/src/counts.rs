//! What a call has done so far.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of [`Counts`] while they grow. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    calls: AtomicU64,
    rows: AtomicU64,
    computed: AtomicU64,
    failed: AtomicU64,
}

/// What a call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// How many times the SQL engine has asked for a batch.
    pub calls: u64,
    /// The rows of these batches.
    pub rows: u64,
    /// The texts, or pairs of texts, that were sent through the model. All others were known.
    pub computed: u64,
    /// Among the computed ones, those that the model could not read.
    pub failed: u64,
}

impl Counters {
    /// Makes counters that are zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the numbers so far.
    pub fn get(&self) -> Counts {
        let Inner { calls, rows, computed, failed } = &*self.0;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { calls: get(calls), rows: get(rows), computed: get(computed), failed: get(failed) }
    }

    pub(crate) fn called(&self, rows: usize) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn computed(&self, failed: bool) {
        self.0.computed.fetch_add(1, Ordering::Relaxed);
        self.0.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
    }
}

impl std::ops::Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            rows: self.rows.saturating_sub(before.rows),
            computed: self.computed.saturating_sub(before.computed),
            failed: self.failed.saturating_sub(before.failed),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, rows, computed, failed } = self;
        write!(f, "calls={calls}, rows={rows}, computed={computed}, failed={failed}")
    }
}
