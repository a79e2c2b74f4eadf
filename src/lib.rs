//! A compact BERT engine, MobileBERT first.

pub mod backend;
mod config;
mod error;
pub mod format;
pub mod graph;
mod head;
pub mod model;
pub mod text;

pub use config::{
    Architecture, Head, MobileBertConfig, ModelConfig, NormalizationType, ProblemType, QuantizationConfig,
};
pub use error::{Error, ErrorKind, Result, TensorProblem};
pub use text::Batch;
