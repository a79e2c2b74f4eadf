//! Text classification.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;

use mobilebert_bindings::classify::{Classification, labels};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{Result, TextClassification, Texts};

use super::cancel::MobilebertCancel;
use super::model::MobilebertModel;
use super::text::MobilebertText;
use crate::call::{ErrorOut, quietly, run, watched};
use crate::given::{Changes, texts};
use crate::memory;
use crate::results::{Groups, Strings};

/// Options of text classification. `mobilebert_classify_options` makes the defaults; every field that is zero
/// means the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertClassifyOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// The largest number of labels, or MOBILEBERT_ALL. Default: 1.
    top_k: usize,
    /// The lowest score of a label that is reported, or NULL. Default: there is none.
    threshold: *const f32,
    /// The function that turns the model's numbers into scores: "auto", "softmax", "sigmoid" or "none".
    /// Default: "auto", the one that fits the model.
    function_to_apply: *const c_char,
    /// What happens to texts that are longer than the model allows: "truncate", "refuse", "windows-mean" or
    /// "windows-max". Default: "truncate".
    long_text: *const c_char,
    /// The longest sequence in tokens. Default: the model's limit.
    max_seq_len: usize,
    /// The number of tokens that neighbouring windows of a long text share. Default: 128, or half of
    /// `max_seq_len` if that is less.
    doc_stride: usize,
    /// The only labels to report, or NULL. Default: all.
    labels: *const MobilebertText,
    /// The number of such labels.
    label_count: usize,
    /// The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
    /// Default: there is no limit.
    timeout_ms: u64,
    /// A flag that cancels the call, or NULL.
    cancel: *const MobilebertCancel,
    /// More options by name, as a JSON object in a string, or NULL. They win over the fields.
    json: *const c_char,
}

/// A label of a text. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertLabel {
    /// The label.
    label: MobilebertText,
    /// The score.
    score: f32,
}

/// The labels of one or several texts.
#[derive(Default)]
pub struct MobilebertLabels {
    found: Groups<MobilebertLabel>,
    truncated: Vec<bool>,
    /// What the labels point to.
    strings: Strings,
}

impl MobilebertLabels {
    fn of(found: Vec<Classification>) -> Box<Self> {
        let mut all = Box::<Self>::default();
        for Classification { labels, truncated, .. } in found {
            let Self { found, strings, .. } = &mut *all;
            found.push(
                labels
                    .iter()
                    .map(|found| MobilebertLabel { label: strings.keep(&found.label), score: found.score }),
            );
            all.truncated.push(truncated);
        }
        all
    }
}

fn classify(
    model: Option<&MobilebertModel>,
    texts: &[&str],
    second: Option<Vec<&str>>,
    is_list: bool,
    options: *const MobilebertClassifyOptions,
) -> Result<Box<MobilebertLabels>> {
    let model = memory::required(model, "model")?.loaded();
    let pipeline = TextClassification::from_parts(model, Default::default())?;
    let given = memory::options(options)?;
    let mut changes = Changes::new();
    changes.top_k(given.top_k);
    changes.number("threshold", given.threshold)?;
    changes.name("function_to_apply", given.function_to_apply)?;
    changes.name("long_text", given.long_text)?;
    changes.count("max_seq_len", given.max_seq_len);
    changes.count("doc_stride", given.doc_stride);
    changes.list("labels", given.labels, given.label_count)?;
    let options = changed(pipeline.options(), &changes.with_json(given.json)?)?;
    let (texts, second) = (texts.to_vec(), second.as_ref().map(|second| second as &dyn Texts));
    let found = watched(given.timeout_ms, given.cancel, |watch| {
        labels(&pipeline, &texts, second, is_list, &options, watch)
    })?;
    Ok(MobilebertLabels::of(found))
}

/// Labels a text.
///
/// `options` and `error` may be NULL. Errors: "empty_text", "too_long", "invalid_text", "option",
/// "unknown_option", "wrong_task" if the model is not for text classification, "cancelled",
/// "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the
/// result with `mobilebert_labels_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_classify(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    options: *const MobilebertClassifyOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertLabels>> {
    run(error, || classify(model, &[memory::text(text, "text")?], None, false, options))
}

/// Labels a pair of texts, such as a sentence and what may follow from it. `mobilebert_classify` says the
/// rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_classify_pair(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    second: MobilebertText,
    options: *const MobilebertClassifyOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertLabels>> {
    run(error, || {
        let (text, second) = (memory::text(text, "text")?, memory::text(second, "second text")?);
        classify(model, &[text], Some(vec![second]), false, options)
    })
}

/// Labels several texts, or several pairs if `seconds` is not NULL. Then `second_count` has to equal `count`;
/// another number is the error "input". The first text that fails ends the call, and its index is that of the
/// error. `texts` may be NULL if `count` is 0. `mobilebert_classify` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_classify_batch(
    model: Option<&MobilebertModel>,
    texts: *const MobilebertText,
    count: usize,
    seconds: *const MobilebertText,
    second_count: usize,
    options: *const MobilebertClassifyOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertLabels>> {
    run(error, || {
        let is_pairs = !seconds.is_null() || second_count > 0;
        let unit = if is_pairs { "pair" } else { "text" };
        let first = self::texts(texts, count, "text", unit)?;
        let second = is_pairs.then(|| self::texts(seconds, second_count, "second text", unit)).transpose()?;
        classify(model, &first, second, true, options)
    })
}

/// Returns the number of texts, or 0 if `labels` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_labels_inputs(labels: Option<&MobilebertLabels>) -> usize {
    labels.map_or(0, |labels| labels.found.count())
}

/// Returns the number of labels of a text. It is 0 if there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_labels_count(labels: Option<&MobilebertLabels>, input: usize) -> usize {
    labels.map_or(0, |labels| labels.found.group(input).len())
}

/// Returns a label of the text `input`, of which `rank` 0 is the best. It belongs to `labels`. It is NULL if
/// there is none.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_labels_at(
    labels: Option<&MobilebertLabels>,
    input: usize,
    rank: usize,
) -> Option<&MobilebertLabel> {
    labels?.found.group(input).get(rank)
}

/// Returns true if the end of the text `input` was not read because it did not fit the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_labels_truncated(labels: Option<&MobilebertLabels>, input: usize) -> bool {
    labels.and_then(|labels| labels.truncated.get(input)).copied().unwrap_or(false)
}

/// Frees labels with their texts. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_labels_free(labels: Option<Box<MobilebertLabels>>) {
    quietly(|| drop(labels));
}
