//! Measures how fast a model runs, in total ([`latency()`]) and by operation ([`operations()`]).
//!
//! `mobilebert bench`, `mobilebert profile` and the small command `mobilebert-bench` of this package, which
//! is made for phones, print what these functions return.

// The lints are here and not in Cargo.toml because tests may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod batch;
mod latency;
mod limits;
mod operations;

pub use batch::batch;
pub use latency::{Latency, latency};
pub use limits::{Runs, check_threads};
pub use operations::{Operations, Tables, operations};

/// The model that is measured if none is named: MobileBERT's shape with weights from a formula.
pub const DEFAULT_MODEL: &str = "synthetic:mobilebert";
