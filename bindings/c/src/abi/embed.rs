//! Vectors of texts, and hidden states of tokens.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;
use std::ptr;

use mobilebert_bindings::embed::{States, Vectors, states, vectors};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::{EmbedOptions, Embedder, Result, Watch};

use super::cancel::MobilebertCancel;
use super::model::{MobilebertModel, MobilebertSwitch};
use super::text::MobilebertText;
use crate::call::{ErrorOut, quietly, run, watched};
use crate::given::{Changes, texts};
use crate::memory;

/// Options of embeddings and token states. `mobilebert_embed_options` makes the defaults; every field that is
/// zero means the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertEmbedOptions {
    /// The size of this struct, so that later versions can add fields.
    struct_size: usize,
    /// How the states of tokens become one vector: "mean", "cls", "max", "mean_sqrt_len", "weighted_mean" or
    /// "last_token". Default: the model's, or "mean".
    pooling: *const c_char,
    /// On if vectors have length 1, so that their dot product is the cosine. Default: the model's, or on.
    normalize: MobilebertSwitch,
    /// The longest sequence in tokens. Default: the model's limit.
    max_seq_len: usize,
    /// The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
    /// Default: there is no limit.
    timeout_ms: u64,
    /// A flag that cancels the call, or NULL.
    cancel: *const MobilebertCancel,
    /// More options by name, as a JSON object in a string, or NULL. They win over the fields.
    json: *const c_char,
}

/// The vectors of one or several texts: a matrix with a row for each.
pub struct MobilebertEmbeddings(Vectors);

/// The states of the tokens of one or several texts: a matrix for each text, with a row for each token.
pub struct MobilebertStates(Vec<States>);

/// Runs `work` with the options of a call.
fn embed<T>(
    model: Option<&MobilebertModel>,
    options: *const MobilebertEmbedOptions,
    work: impl FnOnce(&Embedder, &EmbedOptions, &mut Watch<'_>) -> Result<T>,
) -> Result<T> {
    let pipeline = memory::required(model, "model")?.embedder()?;
    let given = memory::options(options)?;
    let mut changes = Changes::new();
    changes.name("pooling", given.pooling)?;
    changes.switch("normalize", given.normalize)?;
    changes.count("max_seq_len", given.max_seq_len);
    let options = changed(pipeline.options(), &changes.with_json(given.json)?)?;
    watched(given.timeout_ms, given.cancel, |watch| work(pipeline, &options, watch))
}

/// Computes the vector of a text. Any model can, but only one that was trained for it gives similar texts
/// similar vectors.
///
/// `options` and `error` may be NULL. Errors: "empty_text", "invalid_text", "option", "unknown_option",
/// "cancelled", "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller
/// frees the result with `mobilebert_embeddings_free`.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embed(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    options: *const MobilebertEmbedOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertEmbeddings>> {
    run(error, || {
        let texts = [memory::text(text, "text")?];
        embed(model, options, |pipeline, options, watch| vectors(pipeline, &texts, false, options, watch))
            .map(|found| Box::new(MobilebertEmbeddings(found)))
    })
}

/// Computes the vectors of several texts. The first text that fails ends the call, and its index is that of
/// the error. `texts` may be NULL if `count` is 0. `mobilebert_embed` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embed_batch(
    model: Option<&MobilebertModel>,
    texts: *const MobilebertText,
    count: usize,
    options: *const MobilebertEmbedOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertEmbeddings>> {
    run(error, || {
        let texts = self::texts(texts, count, "text", "text")?;
        embed(model, options, |pipeline, options, watch| vectors(pipeline, &texts, true, options, watch))
            .map(|found| Box::new(MobilebertEmbeddings(found)))
    })
}

/// Returns the number of texts, which is that of the matrix's rows, or 0 if `embeddings` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embeddings_rows(embeddings: Option<&MobilebertEmbeddings>) -> usize {
    embeddings.map_or(0, |embeddings| embeddings.0.matrix.rows)
}

/// Returns the number of numbers in a vector, or 0 if `embeddings` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embeddings_columns(embeddings: Option<&MobilebertEmbeddings>) -> usize {
    embeddings.map_or(0, |embeddings| embeddings.0.matrix.columns)
}

/// Returns the rows of the matrix, one behind the other: `values[row * columns + column]`. They belong to
/// `embeddings`. It is NULL if `embeddings` is NULL or has no rows.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embeddings_values(embeddings: Option<&MobilebertEmbeddings>) -> *const f32 {
    embeddings.map_or(ptr::null(), |embeddings| values(&embeddings.0.matrix.values))
}

fn values(values: &[f32]) -> *const f32 {
    if values.is_empty() { ptr::null() } else { values.as_ptr() }
}

/// Returns true if the end of the text `input` was not read because it did not fit the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embeddings_truncated(
    embeddings: Option<&MobilebertEmbeddings>,
    input: usize,
) -> bool {
    embeddings.and_then(|embeddings| embeddings.0.truncated.get(input)).copied().unwrap_or(false)
}

/// Frees vectors. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_embeddings_free(embeddings: Option<Box<MobilebertEmbeddings>>) {
    quietly(|| drop(embeddings));
}

/// Computes the states of the tokens of a text, special tokens included. The caller frees the result with
/// `mobilebert_states_free`. `mobilebert_embed` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_token_states(
    model: Option<&MobilebertModel>,
    text: MobilebertText,
    options: *const MobilebertEmbedOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertStates>> {
    run(error, || {
        let texts = [memory::text(text, "text")?];
        embed(model, options, |pipeline, options, watch| states(pipeline, &texts, false, options, watch))
            .map(|found| Box::new(MobilebertStates(found)))
    })
}

/// Computes the states of the tokens of several texts. The first text that fails ends the call, and its index
/// is that of the error. `texts` may be NULL if `count` is 0. `mobilebert_token_states` says the rest.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_token_states_batch(
    model: Option<&MobilebertModel>,
    texts: *const MobilebertText,
    count: usize,
    options: *const MobilebertEmbedOptions,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertStates>> {
    run(error, || {
        let texts = self::texts(texts, count, "text", "text")?;
        embed(model, options, |pipeline, options, watch| states(pipeline, &texts, true, options, watch))
            .map(|found| Box::new(MobilebertStates(found)))
    })
}

fn of(states: Option<&MobilebertStates>, input: usize) -> Option<&States> {
    states?.0.get(input)
}

/// Returns the number of texts, or 0 if `states` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_inputs(states: Option<&MobilebertStates>) -> usize {
    states.map_or(0, |states| states.0.len())
}

/// Returns the number of tokens of a text. It is 0 if there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_rows(states: Option<&MobilebertStates>, input: usize) -> usize {
    of(states, input).map_or(0, |states| states.matrix.rows)
}

/// Returns the number of numbers in the state of a token. It is 0 if there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_columns(states: Option<&MobilebertStates>, input: usize) -> usize {
    of(states, input).map_or(0, |states| states.matrix.columns)
}

/// Returns the states of the tokens of a text, one behind the other. They belong to `states`. It is NULL if
/// there is no text of this index.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_values(states: Option<&MobilebertStates>, input: usize) -> *const f32 {
    of(states, input).map_or(ptr::null(), |states| values(&states.matrix.values))
}

/// Returns true if the end of the text `input` was not read because it did not fit the model.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_truncated(states: Option<&MobilebertStates>, input: usize) -> bool {
    of(states, input).is_some_and(|states| states.truncated)
}

/// Frees states. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_states_free(states: Option<Box<MobilebertStates>>) {
    quietly(|| drop(states));
}
