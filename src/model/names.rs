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
    const HEADS: [&str; 4] = ["pooler.", "cls.", "qa_outputs.", "classifier."];
    if HEADS.iter().any(|head| name.starts_with(head)) {
        return true;
    }
    if matches!(name, "embeddings.position_ids" | "embeddings.token_type_ids") {
        return true;
    }
    let mobile = matches!(config.architecture, crate::config::Architecture::MobileBert(_));
    let shared_bottleneck = name
        .strip_prefix("encoder.layer.")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(layer, rest)| {
            layer.parse().is_ok_and(|l: usize| l < config.num_hidden_layers)
                && rest.starts_with("bottleneck.attention.")
        });
    mobile && (name.starts_with("embeddings.embedding_transformation.") || shared_bottleneck)
}

fn is_encoder(name: &str) -> bool {
    ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part))
}
