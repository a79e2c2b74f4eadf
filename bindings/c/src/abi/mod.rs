//! What C sees, in the order of the header.
//!
//! These files export names, which the compiler counts as unsafe. They hold no unsafe block and no unsafe
//! function; `tests/architecture.rs` checks that.

pub(crate) mod version;

pub(crate) mod error;

pub(crate) mod text;

pub(crate) mod cancel;

pub(crate) mod model;

pub(crate) mod files;

pub(crate) mod answer;

pub(crate) mod classify;

pub(crate) mod tag;

pub(crate) mod fill;

pub(crate) mod embed;
