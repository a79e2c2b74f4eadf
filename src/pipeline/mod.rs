//! TEXT -> ANSWER: text, model and head composed; decoding and thresholds live here.

mod embedder;
mod exp;
mod fill_mask;
mod question_answering;
mod runner;
mod scores;
mod text_classification;
mod token_classification;

pub use embedder::{Embedder, EmbedderOptions, Embedding, Pooling};
pub use fill_mask::{Fill, FillMask, FillMaskOptions};
pub use question_answering::{
    Answer, PreparedContext, QuestionAnswering, QuestionAnsweringOptions, RankedAnswer, Ranking,
};
pub use runner::check_head;
pub use scores::FunctionToApply;
pub use text_classification::{
    Classification, LabelScore, LongText, TextClassification, TextClassificationOptions,
};
pub use token_classification::{
    AggregationStrategy, Entity, TokenClassification, TokenClassificationOptions,
};
