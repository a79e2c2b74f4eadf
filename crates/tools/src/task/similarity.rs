//! The similarity of pairs of texts by their vectors.

use super::Prediction;
use crate::dataset::{Example, Labelled};
use mobilebert::Result;
use mobilebert::pipeline::Embedder;

/// The score of pairs that mean the same. A similarity is the cosine times this number, so that it is on the
/// scale of the scores of STS-B, which are from 0 to 5. Correlations do not depend on it.
pub(crate) const SAME: f32 = 5.0;

/// Predicts the similarity of each pair.
pub(super) fn values(embedder: &Embedder, data: &Labelled, examples: &[Example]) -> Result<Vec<Prediction>> {
    let mut texts: Vec<&str> = Vec::with_capacity(2 * examples.len());
    for example in examples {
        let second = example.pair.as_deref();
        let second = second.ok_or_else(|| data.error(example, "has no second text to compare with"))?;
        texts.extend([example.text.as_str(), second]);
    }
    let vectors = embedder.embed_batch(&texts)?;
    let value = |pair: &[mobilebert::Embedding]| Prediction::Value { value: SAME * pair[0].cosine(&pair[1]) };
    Ok(vectors.chunks_exact(2).map(value).collect())
}
