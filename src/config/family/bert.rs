//! BERT (Devlin et al. 2018, arXiv 1810.04805), and MiniLM, TinyBERT and all others that say
//! `"model_type": "bert"`.

use super::{Defaults, Eps, Family, POOLER, Projection, TRANSFORM, read_nothing, write_nothing};
use crate::config::Head;
use crate::graph::Activation;

pub(super) static FAMILY: Family = Family {
    model_type: "bert",
    prefix: "bert",
    class: "Bert",
    classes: &[
        ("Model", Head::None),
        ("ForQuestionAnswering", Head::QuestionAnswering),
        ("ForSequenceClassification", Head::SequenceClassification),
        ("ForTokenClassification", Head::TokenClassification),
        ("ForMaskedLM", Head::MaskedLm),
        ("ForMultipleChoice", Head::MultipleChoice),
        ("ForPreTraining", Head::MaskedLm),
        // This head tells whether one text follows another. Only the encoder is of use here.
        ("ForNextSentencePrediction", Head::None),
    ],
    fields: &[],
    defaults: Defaults {
        hidden_size: 768,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        intermediate_size: 3072,
        hidden_act: Activation::Gelu,
        type_vocab_size: 2,
    },
    read: read_nothing,
    write: write_nothing,
    renamed: &[],
    unread: &UNREAD,
    projection: Projection::None,
    embeddings_eps: Eps::Configured,
    output_eps: Eps::Configured,
    sequence: POOLER,
    choice: POOLER,
    masked_lm: TRANSFORM,
};

/// The heads, the pooler, which not every head reads, and buffers that old files carry.
const UNREAD: [&str; 11] = [
    "classifier",
    "qa_outputs",
    "cls.seq_relationship",
    "cls.predictions",
    "cls.predictions.decoder",
    "cls.predictions.dense",
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "pooler.dense",
    "embeddings.position_ids",
    "embeddings.token_type_ids",
];
