//! Word, position and token-type embeddings (MobileBERT paper, section 3.2: trigram input).

use super::{Builder, Dense};
use crate::config::Architecture;
use crate::graph::{Op, ValueId};

pub(super) fn build(b: &mut Builder<'_>) -> ValueId {
    let config = b.config;
    let hidden = config.hidden_size;
    let width = config.embedding_size();
    let (trigram, norm) = match &config.architecture {
        Architecture::Bert => (false, config.norm()),
        Architecture::MobileBert(m) => (m.trigram_input, config.norm_default_eps()),
    };

    let table = b.table("embeddings.word_embeddings.weight", config.vocab_size, width, true);
    let joined = if trigram { 3 * width } else { width };
    let mut words = b.push("embeddings.word_embeddings", Op::WordEmbedding { table, trigram }, joined);
    if trigram || width != hidden {
        words = b.linear(words, Dense::new("embeddings.embedding_transformation", hidden));
    }

    let position =
        b.table("embeddings.position_embeddings.weight", config.max_position_embeddings, hidden, true);
    let token_type =
        b.table("embeddings.token_type_embeddings.weight", config.type_vocab_size, hidden, false);
    let norm = b.norm("embeddings.LayerNorm", norm, hidden);
    b.push("embeddings", Op::PositionAndType { input: words, position, token_type, norm }, hidden)
}
