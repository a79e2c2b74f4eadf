//! Names of tensors in checkpoints: which names a parameter of the graph may have there, and which tensors belong to
//! the architecture although this graph does not read them.

use crate::config::ModelConfig;

/// The names under which a checkpoint may hold the parameter `name`, most usual first: with the model's prefix, without
/// it (base models), and with the `gamma`/`beta` that TensorFlow conversions wrote for norms. The family's own names
/// replace those of the graph, which are BERT's.
///
/// ```
/// # let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
/// let names = mobilebert::model::names::candidates(&config, "embeddings.LayerNorm.weight");
/// assert_eq!(names[0], "mobilebert.embeddings.LayerNorm.weight");
/// assert_eq!(names[2], "mobilebert.embeddings.LayerNorm.gamma");
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn candidates(config: &ModelConfig, name: &str) -> Vec<String> {
    let (in_encoder, name) = (is_encoder(name), config.family.tensor_name(name));
    let mut names = Vec::with_capacity(4);
    let mut both = |name: &str| {
        if in_encoder {
            names.push(format!("{}.{name}", config.prefix()));
        }
        names.push(name.to_owned());
    };
    both(&name);
    if let Some(norm) = name.strip_suffix("LayerNorm.weight") {
        both(&format!("{norm}LayerNorm.gamma"));
    } else if let Some(norm) = name.strip_suffix("LayerNorm.bias") {
        both(&format!("{norm}LayerNorm.beta"));
    }
    names
}

/// Whether a tensor that no parameter claims is nevertheless a known part of the architecture: another head, an unused
/// pooler, buffers, or weights that the original creates for options that never read them.
pub fn is_known_extra(config: &ModelConfig, tensor: &str) -> bool {
    let name = without_prefix(config, tensor);
    // Heads stand beside the encoder, not below its prefix.
    (name == tensor || is_encoder(name)) && config.family.is_unread(name, config.num_hidden_layers)
}

/// Whether a tensor is a copy of the word embedding table, or of the bias beside it, that a model with tied weights never
/// reads.
pub fn is_tied_copy(config: &ModelConfig, tensor: &str) -> bool {
    config.tie_word_embeddings
        && ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"].iter().any(|decoder| {
            let bias_of_its_own = config.family.tensor_name(decoder) == config.family.tensor_name(BIAS);
            !bias_of_its_own && config.family.tensor_name(decoder) == tensor
        })
}

/// The parameter that masked-LM heads add to the scores.
const BIAS: &str = "cls.predictions.bias";

/// A checkpoint's name without the model's prefix, if it has it.
pub fn without_prefix<'n>(config: &ModelConfig, tensor: &'n str) -> &'n str {
    tensor.strip_prefix(config.prefix()).and_then(|name| name.strip_prefix('.')).unwrap_or(tensor)
}

fn is_encoder(name: &str) -> bool {
    ["embeddings.", "embeddings_project.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part))
}
