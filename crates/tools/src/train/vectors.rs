//! Training of vectors: pairs of texts, the cosines of their vectors, and the files that say how a vector is
//! made.

use candle_core::{Result, Tensor};
use serde_json::json;

use super::examples::Examples;
use super::loss::Targets;
use super::padded::Padded;
use crate::dataset::{Example, Gold};
use crate::task::{Dataset, SAME};
use crate::writer::Partial;
use mobilebert::pipeline::{EmbedOptions, Embedder, Job as _, Pooling, sentence_files};
use mobilebert::{EngineOptions, Error, ErrorKind, ModelFiles};

/// Added to the product of two lengths, so that the gradient of a zero vector is a number.
const LEAST: f64 = 1e-12;

/// Encodes both texts of each pair as [`Embedder`] does. The target is the score as a share of the highest one.
pub(super) fn examples(
    files: &ModelFiles,
    data: &Dataset,
    max_seq_len: Option<usize>,
) -> mobilebert::Result<Examples> {
    let Dataset::Labelled(data) = data else {
        let problem = "expected pairs of texts with scores".to_owned();
        return Err(ErrorKind::Input { place: data.file().to_owned(), problem }.into());
    };
    let options = EmbedOptions::with(|o| o.max_seq_len = max_seq_len);
    let embedder = Embedder::open_with(files, EngineOptions::new(), options)?;
    let (mut sequences, mut cosines, mut cut) = (Vec::new(), Vec::new(), 0);
    for example in &data.examples {
        let missing = |what: &str| data.error(example, format!("has no {what} to learn from"));
        let Example { text, pair: Some(pair), .. } = example else { return Err(missing("second text")) };
        let Some(Gold::Value(score)) = example.gold else { return Err(missing("score")) };
        for text in [text, pair] {
            let at = |e: Error| data.error(example, e.to_string());
            let job = embedder.prepare_embed(text, embedder.options()).map_err(at)?;
            cut += usize::from(job.is_truncated());
            sequences.extend(job.sequence(0).map(|sequence| sequence.encoding().clone()));
        }
        cosines.push(score as f32 / SAME);
    }
    Ok(Examples { sequences, each: 2, targets: Targets::Cosines(cosines, embedder.poolings()), cut })
}

/// The cosine of the vectors of each two sequences that follow one another, from hidden states of the shape
/// `[tokens, width]`.
pub(super) fn cosines(states: &Tensor, poolings: &[Pooling], padded: &Padded) -> Result<Tensor> {
    let pooled = poolings.iter().map(|&pooling| pool(states, pooling, padded));
    let vectors = Tensor::cat(&pooled.collect::<Result<Vec<_>>>()?, 1)?;
    let (sequences, width) = vectors.dims2()?;
    let pairs = vectors.reshape((sequences / 2, 2, width))?;
    let side = |side: usize| pairs.narrow(1, side, 1)?.squeeze(1);
    let (first, second) = (side(0)?, side(1)?);
    let lengths = (first.sqr()?.sum(1)? * second.sqr()?.sum(1)?)?;
    (&first * &second)?.sum(1)? / (lengths + LEAST)?.sqrt()?
}

/// The vector of each sequence, in the shape `[sequences, width]`.
fn pool(states: &Tensor, pooling: Pooling, padded: &Padded) -> Result<Tensor> {
    let weight: fn(usize, usize) -> f32 = match pooling {
        Pooling::Mean => |_, n| 1.0 / n as f32,
        Pooling::MeanSqrtLen => |_, n| 1.0 / (n as f32).sqrt(),
        Pooling::WeightedMean => |i, n| (i + 1) as f32 / (n * (n + 1) / 2) as f32,
        Pooling::Cls => |i, _| f32::from(i == 0),
        Pooling::LastToken => |i, n| f32::from(i + 1 == n),
        Pooling::Max => {
            let block = padded.block(states)?.transpose(1, 2)?.contiguous()?;
            return padded.masked(&block)?.max(2);
        }
        other => candle_core::bail!("the pooling {other:?} cannot be trained"),
    };
    let lengths = padded.lengths();
    let tokens: usize = lengths.iter().sum();
    let mut weights = vec![0.0f32; lengths.len() * tokens];
    let mut start = 0;
    for (row, &length) in weights.chunks_exact_mut(tokens).zip(lengths) {
        row[start..start + length].iter_mut().enumerate().for_each(|(i, w)| *w = weight(i, length));
        start += length;
    }
    let weights = Tensor::from_vec(weights, (lengths.len(), tokens), states.device())?;
    weights.to_dtype(states.dtype())?.matmul(states)
}

/// Writes the files of sentence-transformers, by which a folder says that its vectors were trained, if the
/// source has none. They say what [`Embedder`] does without them.
pub(super) fn write_modules(files: &ModelFiles, width: usize, partial: &Partial) -> mobilebert::Result<()> {
    let read = |name: &str| Ok(files.read(name)?.map(|bytes| bytes.into_owned()));
    if !sentence_files(&read)?.is_empty() {
        return Ok(());
    }
    let module = |(i, (kind, path)): (usize, &(&str, &str))| {
        json!({
            "idx": i,
            "name": i.to_string(),
            "path": path,
            "type": format!("sentence_transformers.models.{kind}"),
        })
    };
    let modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")];
    let modules: serde_json::Value = modules.iter().enumerate().map(module).collect();
    partial.write("modules.json", format!("{modules:#}\n").as_bytes())?;
    let pooling = json!({ "word_embedding_dimension": width, "pooling_mode_mean_tokens": true });
    partial.write("1_Pooling/config.json", format!("{pooling:#}\n").as_bytes())
}
