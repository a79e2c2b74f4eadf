//! Words for masks.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;

use mobilebert_bindings::fill::{Fill, fills};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{FillMask, Result};

use super::cancel::MobilebertCancel;
use super::model::MobilebertModel;
use super::text::MobilebertText;
use crate::call::{ErrorOut, quietly, run, watched};
use crate::given::{Changes, texts};
use crate::memory;
use crate::results::{Groups, Strings};

/// Options of filling masks. `mobilebert_fill_options` makes the defaults; every field that is zero means the
/// default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertFillOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// The largest number of words for a mask, or MOBILEBERT_ALL. Default: 5.
    top_k: usize,
    /// The only words to rank, each of which has to be one entry of the vocabulary, or NULL. Default: the
    /// whole vocabulary.
    targets: *const MobilebertText,
    /// The number of such words.
    target_count: usize,
    /// The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
    /// Default: there is no limit.
    timeout_ms: u64,
    /// A flag that cancels the call, or NULL.
    cancel: *const MobilebertCancel,
    /// More options by name, as a JSON object in a string, or NULL. They win over the fields.
    json: *const c_char,
}

/// A word for a mask. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertFill {
    /// The text with this word in place of the mask. Other masks stay.
    sequence: MobilebertText,
    /// The word, as it stands in the vocabulary.
    token_text: MobilebertText,
    /// The number of the word in the vocabulary.
    token: u32,
    /// The score, from 0 to 1.
    score: f32,
}

/// The words for the masks of one or several texts.
#[derive(Default)]
pub struct MobilebertFills {
    /// The number of the first mask of each text, and behind the last one the number of all masks.
    first_masks: Vec<usize>,
    masks: Groups<MobilebertFill>,
    /// What the words point to.
    strings: Strings,
}

impl MobilebertFills {
    fn of(found: Vec<Vec<Vec<Fill>>>) -> Box<Self> {
        let mut all = Box::<Self>::default();
        all.first_masks.push(0);
        for masks in found {
            let Self { first_masks, masks: kept, strings } = &mut *all;
            for fills in masks {
                kept.push(fills.iter().map(|fill| MobilebertFill {
                    sequence: strings.keep(&fill.sequence),
                    token_text: strings.keep(&fill.token_str),
                    token: fill.token,
                    score: fill.score,
                }));
            }
            first_masks.push(kept.count());
        }
        all
    }

    /// Returns the number of the first mask of a text, and that behind its last one.
    fn masks_of(&self, input: usize) -> (usize, usize) {
        match self.first_masks.get(input..).unwrap_or_default() {
            [first, end, ..] => (*first, *end),
            _ => (0, 0),
        }
    }

    fn of_mask(&self, input: usize, mask: usize) -> &[MobilebertFill] {
        let (first, end) = self.masks_of(input);
        if mask < end - first { self.masks.group(first + mask) } else { &[] }
    }
}

fn fill(
    model: Option<&MobilebertModel>,
    texts: &[&str],
    is_list: bool,
    options: *const MobilebertFillOptions,
) -> Result<Box<MobilebertFills>> {
    let pipeline = FillMask::from_parts(memory::required(model, "model")?.loaded(), Default::default())?;
    let given = memory::options(options)?;
    let mut changes = Changes::new();
    changes.top_k(given.top_k);
    changes.list("targets", given.targets, given.target_count)?;
    let options = changed(pipeline.options(), &changes.with_json(given.json)?)?;
    let texts = texts.to_vec();
    let found =
        watched(given.timeout_ms, given.cancel, |watch| fills(&pipeline, &texts, is_list, &options, watch))?;
    Ok(MobilebertFills::of(found))
}

/// Finds the best words for each "[MASK]" of a text.
///
/// `options` and `error` may be NULL. Errors: "empty_text", "too_long", "input" for a text without a mask,
/// "invalid_text", "option", "unknown_option", "wrong_task" if the model is not for filling masks,
/// "cancelled", "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller
/// frees the result with `mobilebert_fills_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fill(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    options: *const MobilebertFillOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertFills>> {
    run(error, || fill(model, &[memory::text(text, "text")?], false, options))
}

/// Finds the best words for the masks of several texts. The first text that fails ends the call, and its
/// index is that of the error. `texts` may be NULL if `count` is 0. `mobilebert_fill` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fill_batch(
    model: Option<&MobilebertModel>,
    texts: *const MobilebertText,
    count: usize,
    options: *const MobilebertFillOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertFills>> {
    run(error, || fill(model, &self::texts(texts, count, "text", "text")?, true, options))
}

/// Returns the number of texts, or 0 if `fills` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fills_inputs(fills: Option<&MobilebertFills>) -> usize {
    fills.map_or(0, |fills| fills.first_masks.len().saturating_sub(1))
}

/// Returns the number of masks of a text. It is 0 if there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fills_masks(fills: Option<&MobilebertFills>, input: usize) -> usize {
    let (first, end) = fills.map_or((0, 0), |fills| fills.masks_of(input));
    end - first
}

/// Returns the number of words for a mask. It is 0 if there is no such mask.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fills_count(
    fills: Option<&MobilebertFills>,
    input: usize,
    mask: usize,
) -> usize {
    fills.map_or(0, |fills| fills.of_mask(input, mask).len())
}

/// Returns a word for the mask `mask` of the text `input`, of which `rank` 0 is the best. It belongs to
/// `fills`. It is NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fills_at(
    fills: Option<&MobilebertFills>,
    input: usize,
    mask: usize,
    rank: usize,
) -> Option<&MobilebertFill> {
    fills?.of_mask(input, mask).get(rank)
}

/// Frees words with their texts. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_fills_free(fills: Option<Box<MobilebertFills>>) {
    quietly(|| drop(fills));
}
