//! Lists the names of tensors in checkpoints: which names a parameter of the graph may have there, and which
//! tensors belong to the architecture although this graph does not read them.

use crate::config::{Head, ModelConfig};

/// Returns the names under which a checkpoint may hold the parameter `name`, the most usual first. They are
/// the name with the model's prefix, without it (base models), and with the `gamma`/`beta` that TensorFlow
/// conversions wrote for norms. The family's own names replace those of the graph, which are BERT's.
///
/// ```
/// # let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
/// let names = mobilebert::model::names::candidates(&config, "embeddings.LayerNorm.weight");
/// assert_eq!(names[0], "mobilebert.embeddings.LayerNorm.weight");
/// assert_eq!(names[2], "mobilebert.embeddings.LayerNorm.gamma");
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn candidates(config: &ModelConfig, parameter: &str) -> Vec<String> {
    let (in_encoder, name) = (is_encoder(parameter), config.family.tensor_name(parameter));
    let mut names = Vec::with_capacity(4);
    let mut both = |name: &str| {
        if in_encoder {
            names.push(format!("{}.{name}", config.prefix()));
        }
        names.push(name.to_owned());
    };
    if parameter == BIAS {
        // The original adds the bias of the decoder. The other bias counts only if it is tied to that one and
        // the decoder has none.
        both(&config.family.tensor_name(DECODER_BIAS));
    }
    both(&name);
    if parameter == DECODER_BIAS && config.tie_word_embeddings {
        both(&config.family.tensor_name(BIAS));
    }
    if let Some(norm) = name.strip_suffix("LayerNorm.weight") {
        both(&format!("{norm}LayerNorm.gamma"));
    } else if let Some(norm) = name.strip_suffix("LayerNorm.bias") {
        both(&format!("{norm}LayerNorm.beta"));
    }
    if parameter == WORD_EMBEDDINGS && config.tie_word_embeddings && config.head == Head::MaskedLm {
        // Tying works in both directions: the decoder stands in for embeddings that were not stored.
        names.push(config.family.tensor_name(DECODER).into_owned());
    }
    names
}

/// Returns the name under which a parameter is written. It is the name of the family, with the model's prefix
/// for parts of the encoder. It is among the [`candidates`], though not always the first, because readers
/// prefer some aliases.
pub fn canonical(config: &ModelConfig, parameter: &str) -> String {
    let name = config.family.tensor_name(parameter);
    if is_encoder(parameter) { format!("{}.{name}", config.prefix()) } else { name.into_owned() }
}

/// Returns true if a tensor that no parameter claims is a known part of the architecture: another head, an
/// unused pooler, a buffer, or a weight that the original creates for options that never read it.
pub fn is_known_extra(config: &ModelConfig, tensor: &str) -> bool {
    let name = without_prefix(config, tensor);
    // Heads stand beside the encoder, not below its prefix.
    (name == tensor || is_encoder(name)) && config.family.is_unread(name, config.num_hidden_layers)
}

/// Returns true if a tensor is a copy of the word embedding table, or of the bias beside it, that a model
/// with tied weights never reads.
pub fn is_tied_copy(config: &ModelConfig, tensor: &str) -> bool {
    config.decoder_is_tied()
        && [DECODER, DECODER_BIAS].iter().any(|decoder| {
            let bias_of_its_own = config.family.tensor_name(decoder) == config.family.tensor_name(BIAS);
            !bias_of_its_own && config.family.tensor_name(decoder) == tensor
        })
}

/// The parameter name of the word embedding table in a graph.
pub(crate) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";
/// The table that a masked-LM head scores with where it is not the word embedding table.
pub(crate) const DECODER: &str = "cls.predictions.decoder.weight";
/// The bias of a decoder with a table of its own.
pub(crate) const DECODER_BIAS: &str = "cls.predictions.decoder.bias";
/// The bias of a decoder that shares the word embedding table.
pub(crate) const BIAS: &str = "cls.predictions.bias";

/// Returns a checkpoint's name for a tensor without the model's prefix, if the name has the prefix.
pub fn without_prefix<'n>(config: &ModelConfig, tensor: &'n str) -> &'n str {
    tensor.strip_prefix(config.prefix()).and_then(|name| name.strip_prefix('.')).unwrap_or(tensor)
}

fn is_encoder(name: &str) -> bool {
    ["embeddings.", "embeddings_project.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part))
}
