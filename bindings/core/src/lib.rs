//! What every language binding of the engine [`mobilebert`] shares, written once: where models are found, how
//! a list of inputs is run, offsets in the units of all languages, options by name, and errors by code.
//!
//! A binding turns its language's values into [`Texts`] and options, calls a task ([`answer`], [`classify`],
//! [`tag`], [`fill`], [`embed`]), and turns the plain results back. It adds nothing to their meaning, so the
//! files in `bindings/vectors` hold for all of them: `cargo run -p mobilebert-bindings --example vectors`
//! writes them, and the tests of each binding read them.
//!
//! There is no foreign function interface and no `unsafe` here.

// The lints are here and not in Cargo.toml because tests and examples may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod answer;
mod backend;
pub mod classify;
pub mod embed;
mod failure;
pub mod fill;
mod find;
mod list;
mod opening;
pub mod options;
mod place;
pub mod tag;
mod texts;
#[cfg(feature = "tools")]
pub mod tools;

pub use backend::{NATIVE, register_backend};
pub use failure::{CODES, Failure, Position, Result};
pub use find::{MODELS_VARIABLE, find};
pub use list::{Progress, Watch};
pub use mobilebert::format::Bytes;
pub use mobilebert::{
    AnswerOptions, BUILT_IN, ClassifyOptions, EmbedOptions, Embedder, FillMask, FillOptions, MemoryFiles,
    Model, OffsetUnit, PreparedContext, QuestionAnswering, Source, Span, TagOptions, TextClassification,
    TokenClassification,
};
pub use opening::{Opening, Task};
pub use place::{Place, places};
pub use texts::{Texts, from_utf8, from_utf16, lone_surrogate};
