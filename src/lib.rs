//! A compact BERT engine, MobileBERT first. It turns text into answers, labels, words and vectors without a
//! framework.
//!
//! ```
//! use mobilebert::{ErrorKind, QuestionAnswering};
//!
//! # fn main() -> mobilebert::Result<()> {
//! let qa = match QuestionAnswering::open("qa") {
//!     // The models are in the repository, not in the registry's package. The message says how to get them.
//!     Err(error) if matches!(error.kind(), ErrorKind::UnknownModel { .. }) => return Ok(println!("{error}")),
//!     opened => opened?,
//! };
//! let answer = qa.answer("Who built it?", "It was built by Ada.")?;
//! assert_eq!((answer.answer.as_str(), answer.start, answer.end), ("Ada", 16, 19));
//! # Ok(())
//! # }
//! ```
//!
//! The modules follow the data from text to answers:
//!
//! 1. [`text`]: a [`Tokenizer`] turns text into an [`Encoding`], whose tokens know the bytes they came from.
//!    Long texts become [`Window`]s. A [`Batch`] collects sequences without padding.
//! 2. [`model`]: a [`ModelConfig`] becomes a [`graph::Graph`], the architecture as data.
//!    [`format`](mod@format) and [`model::Weights`] find its weights in a checkpoint.
//! 3. [`backend`] runs graphs. An [`Engine`] holds configuration, weights and backend: batches go in, logits
//!    come out.
//! 4. [`pipeline`]: [`QuestionAnswering`], [`TextClassification`], [`TokenClassification`], [`FillMask`] and
//!    [`Embedder`] compose all of it. Most programs need nothing else. Pipelines may share one loaded
//!    [`Model`]. A program may schedule their work itself as [`Job`]s, and watch and stop it by a
//!    [`RunControl`].
//!
//! Converters, datasets, metrics and training are in the package `mobilebert-tools`.
//!
//! Models come from a folder in Hugging Face's layout, a built-in name (`qa`, `sentiment`, `ner`, `embed`), a hub id or the
//! program's own memory; see [`Source`]. Every function that can fail returns an [`Error`] that says what
//! went wrong, where, what was expected and what to do.

// The lints are here and not in Cargo.toml because tests, benches and examples may do all of this.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod backend;
mod config;
mod engine;
mod error;
pub mod files;
pub mod format;
pub mod graph;
mod head;
mod hub;
pub mod model;
pub mod pipeline;
pub mod profile;
pub mod quant;
mod source;
pub mod text;

pub use mobilebert_kernels as kernels;

pub use backend::Precision;
pub use config::{
    Family, Head, MobileBertConfig, ModelConfig, NormalizationType, ProblemType, QuantizationConfig,
};
pub use engine::{Engine, EngineOptions, Output, check_request};
pub use error::{Context, Error, ErrorKind, Result, TensorProblem};
pub use graph::RowUnit;
pub use pipeline::{
    AggregationStrategy, Answer, AnswerOptions, AnswerPlace, AnswersWithin, Classification, ClassifyOptions,
    EmbedOptions, Embedder, Embedding, Entity, Fill, FillMask, FillOptions, FunctionToApply, Job, LabelScore,
    LongText, Model, ModelOptions, Pass, PassProgress, Pooling, PreparedContext, QuestionAnswering,
    RankedAnswer, Ranking, RunControl, TagMark, TagOptions, TagScheme, TextClassification,
    TokenClassification,
};
pub use source::{BUILT_IN, MemoryFiles, ModelFiles, Source};
pub use text::{
    Batch, Encoding, OffsetUnit, Span, SpecialIds, TextIndex, TokenizedText, Tokenizer, TokenizerFiles,
    Window, WindowOptions, Windows,
};
