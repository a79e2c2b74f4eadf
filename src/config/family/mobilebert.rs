//! MobileBERT (Sun et al. 2020, arXiv 2004.02984): BERT with bottlenecks around every layer, stacked
//! feed-forward networks, a trigram of narrow word embeddings, and norms without statistics.

use serde_json::Value;

use super::{Defaults, Eps, Family, POOLER, Projection, TRANSFORM};
use crate::config::{Fields, Head, MAX_FEEDFORWARD_NETWORKS_IN_ALL, ModelConfig, bad};
use crate::error::Result;
use crate::graph::Activation;

pub(super) static FAMILY: Family = Family {
    model_type: "mobilebert",
    prefix: "mobilebert",
    class: "MobileBert",
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
        hidden_size: 512,
        num_hidden_layers: 24,
        num_attention_heads: 4,
        intermediate_size: 512,
        hidden_act: Activation::Relu,
        type_vocab_size: 2,
    },
    read,
    write,
    renamed: &[],
    unread: &UNREAD,
    projection: Projection::BeforeSum("embeddings.embedding_transformation"),
    embeddings_eps: TORCH_EPS,
    output_eps: TORCH_EPS,
    sequence: POOLER,
    choice: POOLER,
    masked_lm: TRANSFORM,
};

/// The epsilon of the norms of the embeddings and of `output.LayerNorm`. The original passes none on to them,
/// so they use PyTorch's default.
const TORCH_EPS: Eps = Eps::Fixed(1e-5);

/// BERT's unread modules, and modules that the original creates but never reads under some options: the
/// transformation of words that have the right width already, and the shared bottleneck of queries and keys
/// that share none.
const UNREAD: [&str; 14] = [
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
    "embeddings.embedding_transformation",
    "encoder.layer.{}.bottleneck.attention.dense",
    "encoder.layer.{}.bottleneck.attention.LayerNorm",
];

/// MobileBERT's own options.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MobileBertConfig {
    /// True if a token's embedding is joined with those of its neighbours.
    pub trigram_input: bool,
    /// True if layers work at `intra_bottleneck_size` between linear bottlenecks.
    pub use_bottleneck: bool,
    /// The width inside a layer with bottlenecks.
    pub intra_bottleneck_size: usize,
    /// True if query, key and value all read the input bottleneck.
    pub use_bottleneck_attention: bool,
    /// True if query and key share a bottleneck of their own.
    pub key_query_shared_bottleneck: bool,
    /// The number of stacked feed-forward networks in a layer.
    pub num_feedforward_networks: usize,
    /// The norm that follows linears and residuals.
    pub normalization_type: NormalizationType,
    /// True if the pooler has a linear and a tanh. Otherwise it is the first token's state, unchanged.
    pub classifier_activation: bool,
}

/// The `normalization_type`: the parameter-only norm of the mobile models or the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormalizationType {
    /// The norm is `gamma * x + beta`.
    NoNorm,
    /// The norm is taken over the features of each token.
    LayerNorm,
}

fn read(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    config.embedding_size = fields.size("embedding_size", 128)?;
    let m = MobileBertConfig {
        trigram_input: fields.bool("trigram_input", true)?,
        use_bottleneck: fields.bool("use_bottleneck", true)?,
        intra_bottleneck_size: fields.size("intra_bottleneck_size", 128)?,
        use_bottleneck_attention: fields.bool("use_bottleneck_attention", false)?,
        key_query_shared_bottleneck: fields.bool("key_query_shared_bottleneck", true)?,
        num_feedforward_networks: fields.size("num_feedforward_networks", 4)?,
        normalization_type: normalization(fields)?,
        classifier_activation: fields.bool("classifier_activation", true)?,
    };
    // The original builds query and key for `true_hidden_size` inputs but then feeds them `hidden_size`.
    let query_reads_hidden =
        m.use_bottleneck && !m.use_bottleneck_attention && !m.key_query_shared_bottleneck;
    if query_reads_hidden && m.intra_bottleneck_size != config.hidden_size {
        let expected = format!(
            "{} (= hidden_size), because query and key read the hidden states when both \
             use_bottleneck_attention and key_query_shared_bottleneck are false",
            config.hidden_size
        );
        return Err(bad("intra_bottleneck_size", &expected, &m.intra_bottleneck_size));
    }
    let max = MAX_FEEDFORWARD_NETWORKS_IN_ALL / config.num_hidden_layers;
    if m.num_feedforward_networks > max {
        let expected = format!("at most {max} with {} layers", config.num_hidden_layers);
        return Err(bad("num_feedforward_networks", &expected, &m.num_feedforward_networks));
    }
    if config.head == Head::MaskedLm && config.embedding_size > config.hidden_size {
        let expected = format!("at most {} (= hidden_size) with a masked-LM head", config.hidden_size);
        return Err(bad("embedding_size", &expected, &config.embedding_size));
    }
    config.mobilebert = Some(m);
    Ok(())
}

fn normalization(fields: &Fields<'_>) -> Result<NormalizationType> {
    match fields.string("normalization_type")? {
        None | Some("no_norm") => Ok(NormalizationType::NoNorm),
        Some("layer_norm") => Ok(NormalizationType::LayerNorm),
        Some(other) => Err(bad("normalization_type", "\"no_norm\" or \"layer_norm\"", &format!("{other:?}"))),
    }
}

fn write(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    let Some(m) = &config.mobilebert else { return Vec::new() };
    let normalization = match m.normalization_type {
        NormalizationType::NoNorm => "no_norm",
        NormalizationType::LayerNorm => "layer_norm",
    };
    vec![
        ("embedding_size", config.embedding_size.into()),
        ("trigram_input", m.trigram_input.into()),
        ("use_bottleneck", m.use_bottleneck.into()),
        ("intra_bottleneck_size", m.intra_bottleneck_size.into()),
        ("use_bottleneck_attention", m.use_bottleneck_attention.into()),
        ("key_query_shared_bottleneck", m.key_query_shared_bottleneck.into()),
        ("num_feedforward_networks", m.num_feedforward_networks.into()),
        ("normalization_type", normalization.into()),
        ("classifier_activation", m.classifier_activation.into()),
    ]
}
