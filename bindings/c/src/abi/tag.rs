//! Token classification.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;

use mobilebert_bindings::options::changed;
use mobilebert_bindings::tag::{Entity, entities};
use mobilebert_bindings::{Result, TokenClassification};

use super::cancel::MobilebertCancel;
use super::model::MobilebertModel;
use super::text::{MobilebertPlace, MobilebertText};
use crate::call::{ErrorOut, quietly, run, watched};
use crate::given::{Changes, texts};
use crate::memory;
use crate::results::{Groups, Strings};

/// Options of tagging. `mobilebert_tag_options` makes the defaults; every field that is zero means the
/// default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertTagOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// How the labels of tokens become entities: "none", "simple", "first", "average" or "max". Default:
    /// "simple".
    aggregation_strategy: *const c_char,
    /// The labels that are left out of the results. NULL is the default: "O". To leave none out, point to
    /// anything and set `ignore_label_count` to 0.
    ignore_labels: *const MobilebertText,
    /// The number of such labels.
    ignore_label_count: usize,
    /// The longest window in tokens. Default: the model's limit.
    max_seq_len: usize,
    /// The number of tokens that neighbouring windows of a long text share. Default: 128, or half of
    /// `max_seq_len` if that is less.
    doc_stride: usize,
    /// The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
    /// Default: there is no limit.
    timeout_ms: u64,
    /// A flag that cancels the call, or NULL.
    cancel: *const MobilebertCancel,
    /// More options by name, as a JSON object in a string, or NULL. They win over the fields.
    json: *const c_char,
}

/// A labelled piece of a text. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertEntity {
    /// The label, without a mark such as "B-" if tokens were joined.
    label: MobilebertText,
    /// The piece of the text.
    word: MobilebertText,
    /// The mean score of the parts.
    score: f32,
    /// True if tokens were joined.
    grouped: bool,
    /// The place in the text.
    place: MobilebertPlace,
}

/// The labelled pieces of one or several texts, in the order of each text.
#[derive(Default)]
pub struct MobilebertEntities {
    found: Groups<MobilebertEntity>,
    /// What the entities point to.
    strings: Strings,
}

impl MobilebertEntities {
    fn of(found: Vec<Vec<Entity>>) -> Box<Self> {
        let mut all = Box::<Self>::default();
        for entities in found {
            let Self { found, strings } = &mut *all;
            found.push(entities.into_iter().map(|entity| MobilebertEntity {
                label: strings.keep(&entity.label),
                word: strings.keep(&entity.word),
                score: entity.score,
                grouped: entity.grouped,
                place: entity.place.into(),
            }));
        }
        all
    }
}

fn tag(
    model: Option<&MobilebertModel>,
    texts: &[&str],
    is_list: bool,
    options: *const MobilebertTagOptions,
) -> Result<Box<MobilebertEntities>> {
    let model = memory::required(model, "model")?.loaded();
    let pipeline = TokenClassification::from_parts(model, Default::default())?;
    let given = memory::options(options)?;
    let mut changes = Changes::new();
    changes.name("aggregation_strategy", given.aggregation_strategy)?;
    changes.list("ignore_labels", given.ignore_labels, given.ignore_label_count)?;
    changes.count("max_seq_len", given.max_seq_len);
    changes.count("doc_stride", given.doc_stride);
    let options = changed(pipeline.options(), &changes.with_json(given.json)?)?;
    let texts = texts.to_vec();
    let found = watched(given.timeout_ms, given.cancel, |watch| {
        entities(&pipeline, &texts, is_list, &options, watch)
    })?;
    Ok(MobilebertEntities::of(found))
}

/// Finds the labelled pieces of a text of any length, such as names of people and places.
///
/// `options` and `error` may be NULL. Errors: "empty_text", "invalid_text", "option", "unknown_option",
/// "wrong_task" if the model is not for token classification, "cancelled", "deadline_exceeded",
/// "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the result with
/// `mobilebert_entities_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_tag(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    options: *const MobilebertTagOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertEntities>> {
    run(error, || tag(model, &[memory::text(text, "text")?], false, options))
}

/// Finds the labelled pieces of several texts. The first text that fails ends the call, and its index is that
/// of the error. `texts` may be NULL if `count` is 0. `mobilebert_tag` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_tag_batch(
    model: Option<&MobilebertModel>,
    texts: *const MobilebertText,
    count: usize,
    options: *const MobilebertTagOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertEntities>> {
    run(error, || tag(model, &self::texts(texts, count, "text", "text")?, true, options))
}

/// Returns the number of texts, or 0 if `entities` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_entities_inputs(entities: Option<&MobilebertEntities>) -> usize {
    entities.map_or(0, |entities| entities.found.count())
}

/// Returns the number of labelled pieces of a text. It is 0 if there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_entities_count(entities: Option<&MobilebertEntities>, input: usize) -> usize {
    entities.map_or(0, |entities| entities.found.group(input).len())
}

/// Returns a labelled piece of the text `input`, in the order of the text. It belongs to `entities`. It is
/// NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_entities_at(
    entities: Option<&MobilebertEntities>,
    input: usize,
    index: usize,
) -> Option<&MobilebertEntity> {
    entities?.found.group(input).get(index)
}

/// Frees entities with their texts. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_entities_free(entities: Option<Box<MobilebertEntities>>) {
    quietly(|| drop(entities));
}
