//! TEXT -> TOKENS.

mod batch;

pub use batch::Batch;
