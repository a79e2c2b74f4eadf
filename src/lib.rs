//! A compact BERT engine, MobileBERT first.

pub mod backend;
mod config;
pub mod convert;
mod engine;
mod error;
pub mod format;
pub mod graph;
mod head;
mod hub;
pub mod model;
pub mod pipeline;
pub mod quant;
mod source;
pub mod text;

pub use config::{
    Architecture, Head, MobileBertConfig, ModelConfig, NormalizationType, ProblemType, QuantizationConfig,
};
pub use engine::{BackendKind, Engine, EngineOptions, Output};
pub use error::{Error, ErrorKind, Result, TensorProblem};
pub use pipeline::{
    AggregationStrategy, Answer, Classification, Embedder, EmbedderOptions, Embedding, Entity, Fill,
    FillMask, FillMaskOptions, FunctionToApply, LabelScore, LongText, Pooling, QuestionAnswering,
    QuestionAnsweringOptions, TextClassification, TextClassificationOptions, TokenClassification,
    TokenClassificationOptions,
};
pub use source::{BUILT_IN, ModelFiles};
pub use text::{
    Batch, Encoding, Span, SpecialIds, TextIndex, TokenizedText, Tokenizer, TokenizerFiles, Window,
    WindowOptions, Windows,
};
