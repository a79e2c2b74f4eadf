//! The memory that the bodies of all requests and long answers may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Kind, Refusal, Result};

/// Bytes for bodies and long answers, of which each request takes a part.
#[derive(Debug)]
pub(crate) struct Budget {
    all: usize,
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { all: bytes, left: AtomicUsize::new(bytes) })
    }

    /// Returns the bytes that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all.saturating_sub(self.left.load(Ordering::Acquire))
    }
}

/// What a request has of the budget. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Part {
    /// Takes nothing yet.
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`Kind::Overloaded`] if so many are not left, and [`Kind::TooLarge`] if there never are.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        let take = |left: usize| left.checked_sub(bytes);
        match self.budget.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) if self.bytes.saturating_add(bytes) > self.budget.all => {
                let all = self.budget.all;
                let message = format!(
                    "the request or its answer has more than the {all} bytes that all together may have \
                     (--body-memory-bytes)"
                );
                Err(Refusal::too_large(message).closing())
            }
            Err(_) => {
                let message = "the bodies and answers of all requests take more memory than they may (--body-memory-bytes)";
                let refusal = Refusal::new(Kind::Overloaded, "overloaded", message).closing();
                Err(Refusal { retry_after: Some(Duration::from_secs(1)), ..refusal })
            }
        }
    }

    /// Gives back all but so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.budget.left.fetch_add(more, Ordering::AcqRel);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (Part::of(&budget), Part::of(&budget));
        one.grow(60).unwrap();
        assert_eq!(two.grow(41).unwrap_err().kind, Kind::Overloaded);
        two.grow(40).unwrap();
        assert!(one.grow(1).is_err() && budget.taken() == 100);
        two.shrink_to(10);
        one.grow(30).unwrap();
        drop(one);
        assert_eq!(budget.taken(), 10);
        // What never fits is no matter of time.
        assert_eq!(two.grow(91).unwrap_err().kind, Kind::TooLarge);
        // It never has less than it was told to keep.
        two.shrink_to(50);
        assert_eq!(budget.taken(), 10);
        drop(two);
        assert_eq!(budget.taken(), 0);
    }
}
