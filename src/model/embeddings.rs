//! Builds the word, position and token-type embeddings (MobileBERT paper, section 3.2: trigram input).

use super::{Builder, Dense};
use crate::config::Projection;
use crate::graph::{Op, ValueId};

pub(super) fn build(b: &mut Builder<'_>) -> ValueId {
    let (config, family) = (b.config, b.config.family);
    let (hidden, width) = (config.hidden_size, config.embedding_size);
    let trigram = config.mobilebert.as_ref().is_some_and(|m| m.trigram_input);

    let table = b.table("embeddings.word_embeddings.weight", config.vocab_size, width, true);
    let joined = if trigram { 3 * width } else { width };
    let mut sum = b.push("embeddings.word_embeddings", Op::WordEmbedding { table, trigram }, joined);
    if let Projection::BeforeSum(name) = family.projection
        && (trigram || width != hidden)
    {
        sum = b.linear(sum, Dense::new(name, hidden));
    }

    let width = b.width(sum);
    let position =
        b.table("embeddings.position_embeddings.weight", config.max_position_embeddings, width, true);
    let token_type = (config.type_vocab_size > 0)
        .then(|| b.table("embeddings.token_type_embeddings.weight", config.type_vocab_size, width, false));
    let norm = b.norm("embeddings.LayerNorm", config.norm_with(family.embeddings_eps), width);
    let embedded =
        b.push("embeddings", Op::PositionAndType { input: sum, position, token_type, norm }, width);
    match family.projection {
        Projection::AfterNorm(name) if width != hidden => b.linear(embedded, Dense::new(name, hidden)),
        _ => embedded,
    }
}
