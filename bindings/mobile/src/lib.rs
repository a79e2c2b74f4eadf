//! The native library below the Kotlin and Java interface of the engine `mobilebert`.
//!
//! UniFFI generates the calls. What it generates is an internal of that interface, which is written by hand in
//! `android/`. Everything that has a meaning is in `mobilebert-bindings`; here are only the forms that cross
//! the border. A call takes whole lists and gives whole results, and Rust never calls back.

// The lints are here and not in Cargo.toml because tests may do all of this. UniFFI's macros write the only
// functions that other languages call; by hand there is no unsafe code but in `descriptor`.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod call;
mod descriptor;
mod failure;
mod model;
mod options;
mod source;
mod task;

uniffi::setup_scaffolding!();
