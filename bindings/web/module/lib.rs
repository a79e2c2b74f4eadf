//! The WebAssembly module of the npm package `mobilebert`: files are pushed into it, a pipeline is opened
//! over them, and lists of texts are run. The TypeScript in `../src` calls it and gives it the shapes that
//! users see.
//!
//! Texts come in as strings and results go out as JSON, except vectors, which are arrays of numbers. A
//! failure is thrown as a string of JSON; see `failure.rs`. Nothing here needs a clock, a thread or a file.

mod failure;
mod files;
mod pipeline;
mod results;

pub use failure::{last_panic, lone_surrogate, start};
pub use files::Files;
pub use pipeline::{Pipeline, Vectors, open};
