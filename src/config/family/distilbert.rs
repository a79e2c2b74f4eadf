//! DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT's layers under other names, without token types or a
//! pooler.

use super::{Defaults, Eps, Family, Pooled, Projection, TRANSFORM, read_nothing, write_nothing};
use crate::config::Head;
use crate::graph::Activation;

pub(super) static FAMILY: Family = Family {
    model_type: "distilbert",
    prefix: "distilbert",
    class: "DistilBert",
    classes: &[
        ("Model", Head::None),
        ("ForQuestionAnswering", Head::QuestionAnswering),
        ("ForSequenceClassification", Head::SequenceClassification),
        ("ForTokenClassification", Head::TokenClassification),
        ("ForMaskedLM", Head::MaskedLm),
        ("ForMultipleChoice", Head::MultipleChoice),
    ],
    fields: &[
        ("hidden_size", Some("dim")),
        ("num_hidden_layers", Some("n_layers")),
        ("num_attention_heads", Some("n_heads")),
        ("intermediate_size", Some("hidden_dim")),
        ("hidden_act", Some("activation")),
        ("type_vocab_size", None),
        // The original always passes 1e-12, which is the default of all families.
        ("layer_norm_eps", None),
    ],
    defaults: Defaults {
        hidden_size: 768,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 3072,
        hidden_act: Activation::Gelu,
        type_vocab_size: 0,
    },
    read: read_nothing,
    write: write_nothing,
    renamed: &[
        ("encoder.layer.{}.attention.self.query", "transformer.layer.{}.attention.q_lin"),
        ("encoder.layer.{}.attention.self.key", "transformer.layer.{}.attention.k_lin"),
        ("encoder.layer.{}.attention.self.value", "transformer.layer.{}.attention.v_lin"),
        ("encoder.layer.{}.attention.output.dense", "transformer.layer.{}.attention.out_lin"),
        ("encoder.layer.{}.attention.output.LayerNorm", "transformer.layer.{}.sa_layer_norm"),
        ("encoder.layer.{}.intermediate.dense", "transformer.layer.{}.ffn.lin1"),
        ("encoder.layer.{}.output.dense", "transformer.layer.{}.ffn.lin2"),
        ("encoder.layer.{}.output.LayerNorm", "transformer.layer.{}.output_layer_norm"),
        ("cls.predictions.transform.dense", "vocab_transform"),
        ("cls.predictions.transform.LayerNorm", "vocab_layer_norm"),
        ("cls.predictions.decoder", "vocab_projector"),
        // Its only tensor is the decoder's bias.
        ("cls.predictions", "vocab_projector"),
    ],
    unread: &[
        "pre_classifier",
        "classifier",
        "qa_outputs",
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector",
        "embeddings.position_ids",
    ],
    projection: Projection::None,
    embeddings_eps: Eps::Configured,
    output_eps: Eps::Configured,
    sequence: PRE_CLASSIFIER,
    choice: PRE_CLASSIFIER,
    masked_lm: TRANSFORM,
};

/// The linear that replaces BERT's pooler. It belongs to the head and not to the encoder.
const PRE_CLASSIFIER: Pooled =
    Pooled { dense: "pre_classifier", activation: Activation::Relu, out: "classifier" };
