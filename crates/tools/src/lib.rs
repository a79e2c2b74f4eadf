//! The tools around the engine [`mobilebert`]: everything that makes, measures and compares models. An
//! application that only runs models does not need this crate.
//!
//! - [`convert`] turns models of other frameworks into folders in Hugging Face's layout.
//! - [`foreign`] reads the files of TensorFlow, ONNX and LiteRT for the converter.
//! - [`writer`] writes those folders, and their int8 form.
//! - [`gate`] quantises a model and keeps those modules in f32 that its accuracy depends on.
//! - [`dataset`] reads SQuAD, GLUE and the like, [`metrics`] computes scores as the official scripts do, and
//!   [`task`] runs a pipeline over a dataset.
//! - [`compare`] shows where two models differ, layer by layer or example by example.
//! - [`files`] tells whether two names are one file, and [`outputs`] whether results may be written to one.
//! - [`vectors`] writes embeddings for NumPy and, with the feature `parquet`, as Parquet.
//! - `train` (feature `candle`) trains a model, in floats or through the int8 engine's rounding; `candle` is
//!   the reference backend that it computes with.

// Here and not in Cargo.toml: tests and benches may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod backend;
#[cfg(feature = "candle")]
pub mod candle;
pub mod compare;
pub mod convert;
pub mod dataset;
pub mod files;
pub mod foreign;
pub mod gate;
pub mod metrics;
pub mod outputs;
pub mod task;
#[cfg(feature = "candle")]
pub mod train;
pub mod vectors;
pub mod writer;

pub use backend::BackendKind;
