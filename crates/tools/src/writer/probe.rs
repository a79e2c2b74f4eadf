//! Runs a written model once, so that the writer never hands out a model that computes NaN or infinity.

use std::path::Path;

use mobilebert::text::Batch;
use mobilebert::{Context as _, Engine, EngineOptions, ModelConfig, ModelFiles, Result};

/// Makes a sequence of tokens from all over the vocabulary, in two segments where the model has them.
pub(crate) fn sample(config: &ModelConfig) -> Result<Batch> {
    const LENGTH: usize = 24;
    /// A step that is coprime to every vocabulary size that is not a multiple of it.
    const STEP: usize = 7919;
    let length = LENGTH.min(config.max_position_embeddings);
    let ids: Vec<u32> = (0..length).map(|i| (i * STEP % config.vocab_size) as u32).collect();
    let types: Vec<u32> =
        (0..length).map(|i| u32::from(config.type_vocab_size > 1 && i >= length / 2)).collect();
    Batch::single(&ids, &types)
}

/// Checks that the model in a folder computes finite numbers, and returns the hash of those for a fixed
/// sequence ([`Engine::self_check`]). Its weights can be finite and still be so large that their products are
/// not.
///
/// # Errors
/// Returns [`mobilebert::ErrorKind::NotFinite`], and the errors of opening the model.
pub(crate) fn check_logits(folder: &Path) -> Result<String> {
    let engine = Engine::from_files(&ModelFiles::Folder(folder.to_owned()), None, EngineOptions::new())?;
    engine.self_check().context(|| "the written model".to_owned())
}
