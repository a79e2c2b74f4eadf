//! TEXT -> ANSWER: pipelines compose text, model and head. Decoding and thresholds live here.
//!
//! A [`Model`] is loaded once and shared by any number of pipelines. A pipeline turns an input into a
//! [`Job`], whose sequences [`Model::run`] puts into forward passes, under a [`RunControl`]; programs that
//! schedule passes by themselves do the same with [`Pass`].

mod answer_job;
mod answer_search;
mod answers_within;
mod control;
mod embedder;
mod exp;
mod fill_mask;
mod job;
mod model;
mod multiple_choice;
mod options;
mod pass;
mod question_answering;
mod runner;
mod scores;
mod sentence;
mod tag_job;
mod tag_scheme;
mod text_classification;
mod token_classification;

pub use answer_job::{AnswerJob, RankJob};
pub use answers_within::{AnswersWithin, AnswersWithinJob};
pub use control::{OnPass, PassProgress, RunControl};
pub use embedder::{EmbedJob, EmbedOptions, Embedder, Embedding, Pooling};
pub use fill_mask::{Fill, FillJob, FillMask, FillOptions};
pub use job::Job;
pub use model::{Model, ModelOptions, check_head};
pub use multiple_choice::score_choices;
pub use pass::{Pass, PassRows, Sequence};
pub use question_answering::{
    Answer, AnswerOptions, AnswerPlace, PreparedContext, QuestionAnswering, RankedAnswer, Ranking,
};
pub use scores::FunctionToApply;
pub use sentence::sentence_files;
pub use tag_job::TagJob;
pub use tag_scheme::{TagMark, TagScheme};
pub use text_classification::{
    Classification, ClassifyJob, ClassifyOptions, LabelScore, LongText, TextClassification,
};
pub use token_classification::{AggregationStrategy, Entity, TagOptions, TokenClassification};
