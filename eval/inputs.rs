//! Opening models, and the token sequences of a dataset.

use mobilebert::{Encoding, Engine, EngineOptions, ModelFiles, Result};
use mobilebert_tools::metrics::interval::Random;
use mobilebert_tools::task::{Dataset, Evaluator};

use crate::args::{How, Model};

impl How {
    /// The options of an engine.
    pub(crate) fn engine(&self) -> EngineOptions {
        let mut options = EngineOptions::new();
        if let Some(backend) = self.backend {
            options = options.backend(backend);
        }
        if let Some(threads) = self.threads {
            options = options.threads(threads);
        }
        if let Some(precision) = self.precision {
            options = options.precision(precision);
        }
        options
    }
}

impl Model {
    /// The options of its engine.
    pub(crate) fn engine(&self) -> EngineOptions {
        self.how.engine()
    }

    /// SHA-256 and bytes of its weight files; `None` for a synthetic model.
    pub(crate) fn weights(&self) -> Result<Option<(String, usize)>> {
        if self.model.starts_with("synthetic:") {
            return Ok(None);
        }
        let files = ModelFiles::resolve(&self.model)?;
        let bytes = files.checkpoint()?.files().map(|(_, bytes)| bytes.len()).sum();
        Ok(Some((files.weights_sha256()?, bytes)))
    }
}

/// A sequence for the model.
pub(crate) struct Input {
    pub(crate) ids: Vec<u32>,
    pub(crate) type_ids: Vec<u32>,
}

impl From<Encoding> for Input {
    fn from(encoding: Encoding) -> Self {
        Self { ids: encoding.ids().to_vec(), type_ids: encoding.type_ids().to_vec() }
    }
}

/// Sequences of one length. Their tokens have no meaning.
pub(crate) fn fixed(engine: &Engine, tokens: usize) -> Vec<Input> {
    const DIFFERENT: u64 = 16;
    let input = |seed| {
        let mut random = Random::new(seed);
        let ids = (0..tokens).map(|_| random.below(engine.config().vocab_size) as u32).collect();
        Input { ids, type_ids: vec![0; tokens] }
    };
    (0..DIFFERENT).map(input).collect()
}

/// The first sequences of a dataset; see [`Evaluator::sequences`].
pub(crate) fn encodings(evaluator: &Evaluator, data: &Dataset, most: usize) -> Result<Vec<Input>> {
    Ok(evaluator.sequences(data, most)?.into_iter().map(Input::from).collect())
}
