//! Reads models of other frameworks and hands them to [`crate::writer`].
//!
//! The same weights become the same tensors, whatever source they come from: see [`content_hash`].

mod attached;
mod attention;
mod constants;
mod elsewhere;
mod flow;
mod formulas;
mod fused;
mod graph_file;
mod hugging_face;
mod infer;
mod mask;
mod onnx;
mod options;
mod recognise;
mod source;
mod stored;
mod tensorflow;
mod tflite;
mod topology;
mod unread;
mod verify;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::writer::{self, Partial, WriteProgress, content_hash};
use mobilebert::Result;
use mobilebert::format::Bytes;
use mobilebert::pipeline::sentence_files;

pub use options::ConvertOptions;
pub use source::SourceFormat;
pub use verify::{Verification, VerifiedLayer};

/// The result of a conversion.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct ConvertReport {
    /// The format that the source was recognised as.
    pub format: SourceFormat,
    /// The class of the model in Hugging Face's naming.
    pub class: String,
    /// The number of tensors written.
    pub tensors: usize,
    /// The size of the written `model.safetensors`.
    pub bytes: u64,
    /// The hash of the weights; see [`content_hash`].
    pub content_sha256: String,
    /// Remarks for the reader, such as what was left out, inferred or found folded.
    pub notes: Vec<String>,
    /// The comparison with the source, if it was asked for.
    pub verification: Option<Verification>,
}

/// Converts the model at `source` into a new folder in Hugging Face's layout. Besides all that
/// [`mobilebert::ModelFiles::resolve`] finds, `source` may be a weight file, or a folder with one, of the
/// formats of [`SourceFormat`], recognised by content.
///
/// Floats are written as f32, our own int8 weights as they are, and weights of 4 bits in int8. The
/// destination appears only when it is complete. At most one tensor is in memory at a time, beside the mapped
/// source.
///
/// # Errors
/// Returns the errors of opening the source; [`mobilebert::ErrorKind::Conversion`] with the place, the
/// module, what was expected and found, and what to try; [`mobilebert::ErrorKind::Input`] if the destination
/// exists; and [`mobilebert::ErrorKind::Verification`] if the written model differs from its source.
///
/// ```no_run
/// use mobilebert_tools::convert::{self, ConvertOptions};
///
/// let options = ConvertOptions::new().verify(true);
/// let report = convert::convert("bert_model.ckpt", "my-model".as_ref(), &options, &|_, _| {})?;
/// println!("{}", report.content_sha256);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn convert(
    source: &str,
    destination: &Path,
    options: &ConvertOptions,
    progress: WriteProgress<'_>,
) -> Result<ConvertReport> {
    let found = recognise::find(source)?;
    writer::check_destination(destination, found.path(), options.force)?;
    let mut notes = Vec::new();
    let source = found.open(options, &mut notes)?;
    let tokenizer = source::tokenizer_files(&found, options, &mut notes)?;
    source::check_tokenizer(&found, options, &tokenizer, source.config.vocab_size)?;

    let partial = Partial::create(destination)?;
    if let Some(note) = partial.removed_note() {
        notes.push(note);
    }
    let written = writer::write_weights(&source, &partial.folder.join("model.safetensors"), progress)?;
    partial.write("config.json", writer::config_json(&source.config, &source.original)?.as_bytes())?;
    for (name, bytes) in &tokenizer {
        partial.write(name, bytes)?;
    }
    for (name, bytes) in sentence_files(&|name| found.read(name))? {
        partial.write(&name, &bytes)?;
    }
    writer::check_logits(&partial.folder)?;
    let verification = match options.verify {
        true => Some(verify::verify(&source, found.read(verify::EXPECTED)?.as_deref(), &partial.folder)?),
        false => None,
    };
    let report = ConvertReport {
        format: found.format,
        class: source.config.class_name(),
        tensors: written.tensors,
        bytes: written.bytes,
        content_sha256: written.hash,
        notes,
        verification,
    };
    // The maps of the source are closed first, because it may be the folder that is replaced.
    drop(source);
    partial.rename(destination, options.force)?;
    Ok(report)
}

/// Returns the content hash of a model that is an ONNX or LiteRT graph in memory, with the configuration that
/// the graph implies. This is what [`convert`] would print for the file. `label` names it in errors.
///
/// # Errors
/// Returns the errors of [`convert`] that concern the graph.
pub fn graph_content_hash(label: &str, bytes: Vec<u8>) -> Result<String> {
    let bytes = Bytes::Owned(bytes);
    let flow = match crate::foreign::tflite::is_tflite(&bytes) {
        true => graph_file::tflite(label, bytes)?,
        false => graph_file::onnx(label, bytes, None)?,
    };
    let source = graph_file::open(flow, None, None, &mut Vec::new())?;
    content_hash(&source.config, &source.graph, &*source.weights)
}
