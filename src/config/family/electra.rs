//! ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT's layers on embeddings that may be narrower, with
//! heads of its own. A discriminator's model (`ElectraForPreTraining`) is read as the encoder alone.

use serde_json::Value;

use super::{Defaults, Eps, Family, Pooled, Projection, Transform};
use crate::config::{Fields, Head, ModelConfig, bad};
use crate::error::Result;
use crate::graph::Activation;

pub(super) static FAMILY: Family = Family {
    model_type: "electra",
    prefix: "electra",
    class: "Electra",
    classes: &[
        ("Model", Head::None),
        ("ForQuestionAnswering", Head::QuestionAnswering),
        ("ForSequenceClassification", Head::SequenceClassification),
        ("ForTokenClassification", Head::TokenClassification),
        ("ForMaskedLM", Head::MaskedLm),
        ("ForMultipleChoice", Head::MultipleChoice),
        ("ForPreTraining", Head::None),
    ],
    fields: &[],
    defaults: Defaults {
        hidden_size: 256,
        num_hidden_layers: 12,
        num_attention_heads: 4,
        intermediate_size: 1024,
        hidden_act: Activation::Gelu,
        type_vocab_size: 2,
    },
    read,
    write,
    renamed: &[
        ("cls.predictions.transform.dense", "generator_predictions.dense"),
        ("cls.predictions.transform.LayerNorm", "generator_predictions.LayerNorm"),
        ("cls.predictions.decoder", "generator_lm_head"),
        // Its only tensor is the decoder's bias.
        ("cls.predictions", "generator_lm_head"),
    ],
    unread: &[
        "classifier",
        "classifier.dense",
        "classifier.out_proj",
        "qa_outputs",
        "sequence_summary.summary",
        "discriminator_predictions.dense",
        "discriminator_predictions.dense_prediction",
        "generator_predictions.dense",
        "generator_predictions.LayerNorm",
        "generator_lm_head",
        "embeddings.position_ids",
        "embeddings.token_type_ids",
    ],
    projection: Projection::AfterNorm("embeddings_project"),
    embeddings_eps: Eps::Configured,
    output_eps: Eps::Configured,
    sequence: Pooled { dense: "classifier.dense", activation: Activation::Gelu, out: "classifier.out_proj" },
    choice: Pooled { dense: "sequence_summary.summary", activation: Activation::Gelu, out: "classifier" },
    // The generator's head has this activation whatever `hidden_act` says, like the heads above.
    masked_lm: Transform { to_embedding_size: true, activation: Some(Activation::Gelu) },
};

fn read(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<()> {
    config.embedding_size = fields.size("embedding_size", 128)?;
    if config.head == Head::MultipleChoice {
        // These are the options of XLNet's summary. All known models have the values that ELECTRA's
        // configuration has by default.
        for (field, expected) in [("summary_type", "first"), ("summary_activation", "gelu")] {
            let value = fields.map.get(field);
            if value.is_some_and(|value| value != expected) {
                return Err(bad(field, &format!("{expected:?}"), value.unwrap_or(&Value::Null)));
            }
        }
        if !fields.bool("summary_use_proj", true)? {
            return Err(bad("summary_use_proj", "true", "false"));
        }
        if fields.bool("summary_proj_to_labels", false)? {
            return Err(bad("summary_proj_to_labels", "false", "true"));
        }
    }
    Ok(())
}

fn write(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    vec![("embedding_size", config.embedding_size.into())]
}
