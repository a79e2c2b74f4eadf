//! Masked language modelling uses a transform, and the word embedding table as decoder. MobileBERT's table is
//! narrower than its hidden states, so `cls.predictions.dense` scores the remaining columns.

use crate::graph::{NormKind, Op, Rows, ValueId};
use crate::model::{Builder, Dense, names};

pub(super) fn build(b: &mut Builder<'_>, hidden: ValueId) -> ValueId {
    let config = b.config;
    let (embedding, vocab, head) = (config.embedding_size, config.vocab_size, config.family.masked_lm);
    let width = if head.to_embedding_size { embedding } else { config.hidden_size };
    let selected = Op::Select { input: hidden, rows: Rows::Requested };
    let kept = b.push("cls.predictions", selected, config.hidden_size);

    // The original always uses LayerNorm here, whatever `normalization_type` says.
    let norm = NormKind::LayerNorm { eps: config.layer_norm_eps };
    let transform = Dense::new("cls.predictions.transform.dense", width)
        .activation(head.activation.unwrap_or(config.hidden_act))
        .norm("cls.predictions.transform.LayerNorm", norm);
    let input = b.linear(kept, transform);

    let (decoder_name, bias_name) = match config.decoder_is_tied() {
        true => (names::WORD_EMBEDDINGS, names::BIAS),
        false => (names::DECODER, names::DECODER_BIAS),
    };
    let decoder = b.table(decoder_name, vocab, embedding, true);
    let extra =
        (width > embedding).then(|| b.table("cls.predictions.dense.weight", width - embedding, vocab, true));
    let bias = b.vector(bias_name.to_owned(), vocab);
    b.push("cls.predictions.decoder", Op::Vocabulary { input, decoder, extra, bias }, vocab)
}
