//! The C library of the engine `mobilebert`.
//!
//! `abi/` holds what C sees: the exported functions and the structs of their arguments and results. The tool
//! `c-header` of `bindings/tools` writes `include/mobilebert.h` from it, so its documentation is written for
//! people who read C. Everything that reads a caller's memory is in `memory`.
//!
//! Arguments that may be NULL are `Option`s here: `Option<&T>` and `Option<Box<T>>` are pointers to C.

// The lints are here and not in Cargo.toml because tests may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(unreachable_pub, reason = "the tool that writes the header reads what is public")]
mod abi;
mod call;
mod given;
mod memory;
mod results;
