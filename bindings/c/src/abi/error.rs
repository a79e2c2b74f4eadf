//! Errors.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::{CString, c_char};
use std::ptr;

use mobilebert_bindings::{Failure, Position};

use super::text::{MOBILEBERT_UNIT_BYTE, MOBILEBERT_UNIT_CODE_POINT, MOBILEBERT_UNIT_UTF16, MobilebertUnit};
use crate::call::quietly;

/// A number that is not known: the index or the position of an error that has none.
pub const MOBILEBERT_NONE: usize = usize::MAX;

/// What went wrong.
///
/// Every function that can fail has a last parameter `MobilebertError **error`. It may be NULL. Otherwise the
/// function writes NULL there if it succeeds, and a new error if it fails; what is there before does not
/// matter and is not freed. The caller frees the error with `mobilebert_error_free`.
pub struct MobilebertError {
    code: CString,
    message: CString,
    place: Option<CString>,
    index: Option<usize>,
    position: Option<Position>,
}

impl MobilebertError {
    pub(crate) fn new(failure: &Failure) -> Self {
        Self {
            code: c_string(failure.code()),
            message: c_string(failure.message()),
            place: failure.place().map(c_string),
            index: failure.index(),
            position: failure.position(),
        }
    }
}

/// Makes a string that ends with NUL. A message may quote a text with a NUL, which is shown as `\0` then.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// Returns the kind of error as a short name that stays the same from release to release, for programs to
/// compare: "unknown_model", "missing_file", "empty_text", "too_long", "invalid_text", "option",
/// "unknown_option", "input", "wrong_task", "cancelled", "deadline_exceeded", "null_argument", and others
/// that a program will rather show than handle. "panic" is a fault of the library; the handles can still be
/// used.
///
/// The string belongs to the error. It is NULL if `error` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_code(error: Option<&MobilebertError>) -> *const c_char {
    error.map_or(ptr::null(), |error| error.code.as_ptr())
}

/// Returns a sentence for people: what happened, where, what was expected and what to do. It is UTF-8 and may
/// change from release to release.
///
/// The string belongs to the error. It is NULL if `error` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_message(error: Option<&MobilebertError>) -> *const c_char {
    error.map_or(ptr::null(), |error| error.message.as_ptr())
}

/// Returns the place of the error, such as the name of an option, a file, or "text 3: question". It is NULL
/// if there is none, or if `error` is NULL.
///
/// The string belongs to the error.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_place(error: Option<&MobilebertError>) -> *const c_char {
    error.and_then(|error| error.place.as_ref()).map_or(ptr::null(), |place| place.as_ptr())
}

/// Returns the index, from 0, of the input that failed, for a call with several inputs. It is MOBILEBERT_NONE
/// if there is none, or if `error` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_index(error: Option<&MobilebertError>) -> usize {
    error.and_then(|error| error.index).unwrap_or(MOBILEBERT_NONE)
}

/// Returns the position in the text, from 0, of the character that is at fault, for errors of kind
/// "invalid_text". It is MOBILEBERT_NONE if there is none, if `unit` is none of the constants
/// MOBILEBERT_UNIT_..., or if `error` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_position(error: Option<&MobilebertError>, unit: MobilebertUnit) -> usize {
    error.and_then(|error| error.position).map_or(MOBILEBERT_NONE, |position| match unit {
        MOBILEBERT_UNIT_BYTE => position.byte,
        MOBILEBERT_UNIT_CODE_POINT => position.char,
        MOBILEBERT_UNIT_UTF16 => position.utf16,
        _ => MOBILEBERT_NONE,
    })
}

/// Frees an error and its strings. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_error_free(error: Option<Box<MobilebertError>>) {
    quietly(|| drop(error));
}
