//! A compact BERT engine, MobileBERT first.

pub mod backend;
mod error;
pub mod format;
pub mod graph;
pub mod kernels;
pub mod text;

pub use error::{Error, ErrorKind, Result, TensorProblem};
pub use text::Batch;
