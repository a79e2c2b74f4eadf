//! Training of labels of words: the first token of each word has the word's label, and the others have none.

use candle_core::{Device, Result, Tensor};
use candle_nn::loss::cross_entropy;

use super::examples::Examples;
use super::loss::Targets;
use crate::dataset::{Sentence, Tagged};
use mobilebert::text::{Encoding, Tokenizer};
use mobilebert::{Error, ErrorKind, ModelConfig};

/// Encodes sentences, which are cut at `max_seq_len` tokens.
pub(super) fn examples(
    data: &Tagged,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    max_seq_len: usize,
) -> mobilebert::Result<Examples> {
    let (mut sequences, mut tags, mut cut) = (Vec::new(), Vec::new(), 0);
    for sentence in &data.sentences {
        let at = |problem: String| {
            Error::from(ErrorKind::Input { place: format!("{}, line {}", data.file, sentence.line), problem })
        };
        let tokens = tokenizer.tokenize(&sentence.words.join(" ")).map_err(|e| at(e.to_string()))?;
        let (encoding, is_cut) = tokens.encode_truncated(None, max_seq_len)?;
        let found = labels(sentence, &config.labels, &encoding).map_err(at)?;
        // A sentence of words that the tokenizer drops has nothing to learn from.
        if found.iter().any(Option::is_some) {
            tags.push(found);
            sequences.push(encoding);
            cut += usize::from(is_cut);
        }
    }
    if sequences.is_empty() {
        let problem = "no sentence has a word with a token".to_owned();
        return Err(ErrorKind::Input { place: data.file.clone(), problem }.into());
    }
    Ok(Examples { sequences, each: 1, targets: Targets::Tags(tags), cut })
}

/// The label of each token: that of the word that begins with it.
fn labels(
    sentence: &Sentence,
    known: &[String],
    encoding: &Encoding,
) -> std::result::Result<Vec<Option<u32>>, String> {
    let mut labels = vec![None; encoding.len()];
    let mut tokens = encoding.spans().iter().enumerate().filter(|(_, span)| !span.is_empty()).peekable();
    let mut start = 0;
    for (word, tag) in sentence.words.iter().zip(&sentence.tags) {
        let end = start + word.len();
        while tokens.next_if(|(_, span)| span.start < start).is_some() {}
        if let Some((token, _)) = tokens.next_if(|(_, span)| span.start < end) {
            let label = known.iter().position(|label| label == tag);
            let unknown = || format!("label `{tag}` is none of the model's: {}", known.join(", "));
            labels[token] = Some(label.ok_or_else(unknown)? as u32);
        }
        start = end + 1;
    }
    Ok(labels)
}

/// The rows of a batch that have a label.
pub(super) fn rows(tags: &[Vec<Option<u32>>], device: &Device) -> Result<Tensor> {
    let rows = tags.iter().flatten().enumerate().filter(|(_, label)| label.is_some());
    Tensor::new(rows.map(|(row, _)| row as u32).collect::<Vec<u32>>(), device)
}

/// The mean cross-entropy of the labels, over all tokens of the batch that have one.
pub(super) fn loss(logits: &Tensor, tags: &[Vec<Option<u32>>]) -> Result<Tensor> {
    let labels: Vec<u32> = tags.iter().flatten().flatten().copied().collect();
    let logits = logits.index_select(&rows(tags, logits.device())?, 0)?;
    cross_entropy(&logits, &Tensor::new(labels, logits.device())?)
}
