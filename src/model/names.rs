//! Names of tensors in checkpoints: which names a parameter of the graph may have there, and which tensors belong to
//! the architecture although this graph does not read them.

use crate::config::ModelConfig;

/// The names under which a checkpoint may hold the parameter `name`, most usual first: with the model's prefix, without
/// it (base models), and with the `gamma`/`beta` that TensorFlow conversions wrote for norms.
///
/// ```
/// # let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
/// let names = mobilebert::model::names::candidates(&config, "embeddings.LayerNorm.weight");
/// assert_eq!(names[0], "mobilebert.embeddings.LayerNorm.weight");
/// assert_eq!(names[2], "mobilebert.embeddings.LayerNorm.gamma");
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn candidates(config: &ModelConfig, name: &str) -> Vec<String> {
    let mut names = Vec::with_capacity(4);
    let mut both = |name: &str| {
        if is_encoder(name) {
            names.push(format!("{}.{name}", config.prefix()));
        }
        names.push(name.to_owned());
    };
    both(name);
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
    let name = tensor.strip_prefix(config.prefix()).and_then(|n| n.strip_prefix('.')).unwrap_or(tensor);
    if HEADS.contains(&tensor) || ANY_ENCODER.contains(&name) {
        return true;
    }
    let shared_bottleneck = || {
        let rest = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.'));
        rest.is_some_and(|(layer, rest)| {
            layer.parse().is_ok_and(|l: usize| l < config.num_hidden_layers)
                && SHARED_BOTTLENECK.contains(&rest)
        })
    };
    let mobile = matches!(config.architecture, crate::config::Architecture::MobileBert(_));
    mobile && (EMBEDDING_TRANSFORMATION.contains(&name) || shared_bottleneck())
}

/// Tensors of all heads. They stand beside the encoder, not below its prefix.
const HEADS: [&str; 16] = [
    "classifier.weight",
    "classifier.bias",
    "qa_outputs.weight",
    "qa_outputs.bias",
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
    "cls.predictions.dense.weight",
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.transform.LayerNorm.gamma",
    "cls.predictions.transform.LayerNorm.beta",
];

/// The pooler, which not every head reads, and buffers that old files carry.
const ANY_ENCODER: [&str; 4] =
    ["pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids", "embeddings.token_type_ids"];

/// Created by MobileBERT even where the widths need no transformation.
const EMBEDDING_TRANSFORMATION: [&str; 2] =
    ["embeddings.embedding_transformation.weight", "embeddings.embedding_transformation.bias"];

/// Created by MobileBERT in every layer even where query and key share no bottleneck.
const SHARED_BOTTLENECK: [&str; 6] = [
    "bottleneck.attention.dense.weight",
    "bottleneck.attention.dense.bias",
    "bottleneck.attention.LayerNorm.weight",
    "bottleneck.attention.LayerNorm.bias",
    "bottleneck.attention.LayerNorm.gamma",
    "bottleneck.attention.LayerNorm.beta",
];

fn is_encoder(name: &str) -> bool {
    ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part))
}
