//! The options of a conversion.

use std::path::PathBuf;

/// Options of a conversion.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ConvertOptions {
    pub(super) force: bool,
    pub(super) verify: bool,
    pub(super) config: Option<PathBuf>,
    pub(super) vocab: Option<PathBuf>,
}

impl ConvertOptions {
    /// Makes the default options: the conversion is not verified, and an existing folder is an error.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces a model folder that stands at the destination.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Runs the source and the written folder and compares them, before the folder is put in its place.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Takes the configuration from this file instead of the one beside the weights.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = Some(file.into());
        self
    }

    /// Takes the vocabulary (`vocab.txt`) from this file instead of the one beside the weights.
    pub fn vocab(mut self, file: impl Into<PathBuf>) -> Self {
        self.vocab = Some(file.into());
        self
    }
}
