//! Texts, and places in them.

#![allow(unsafe_code, reason = "exported names")]

use std::ffi::c_char;

use mobilebert_bindings::{Failure, OffsetUnit, Place, Result, Span, from_utf16};

use crate::call::{ErrorOut, quietly, run};
use crate::memory;
use crate::results::Strings;

/// A text: `size` bytes of UTF-8 at `data`. A NUL is a character as any other and does not end it. `data` may
/// be NULL if `size` is 0.
///
/// Texts that a program passes in need not end with NUL, and have to stay as they are until the call returns.
/// Texts in results have a NUL behind them, which `size` does not count, and live as long as their result.
/// `mobilebert_text` makes one of a string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertText {
    /// The first byte.
    pub(crate) data: *const c_char,
    /// The number of bytes.
    pub(crate) size: usize,
}

/// What offsets count: one of the constants MOBILEBERT_UNIT_...
pub type MobilebertUnit = u32;
/// Bytes of UTF-8.
pub const MOBILEBERT_UNIT_BYTE: u32 = 0;
/// Code points, which Python counts.
pub const MOBILEBERT_UNIT_CODE_POINT: u32 = 1;
/// UTF-16 units, which Java, JavaScript, Qt and Windows count.
pub const MOBILEBERT_UNIT_UTF16: u32 = 2;

/// A piece of a text, from `start` to the unit before `end`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertSpan {
    /// The number of units before the piece.
    pub(crate) start: usize,
    /// The number of units before what follows the piece.
    pub(crate) end: usize,
}

/// The place of a piece of the caller's text, in each unit. Its size is the same in all versions with one
/// MOBILEBERT_ABI_VERSION.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MobilebertPlace {
    /// In bytes: `context.data + bytes.start` is the first of them.
    pub(crate) bytes: MobilebertSpan,
    /// In code points.
    pub(crate) code_points: MobilebertSpan,
    /// In UTF-16 units.
    pub(crate) utf16: MobilebertSpan,
}

impl From<Span> for MobilebertSpan {
    fn from(span: Span) -> Self {
        Self { start: span.start, end: span.end }
    }
}

impl From<Place> for MobilebertPlace {
    fn from(place: Place) -> Self {
        Self { bytes: place.byte.into(), code_points: place.char.into(), utf16: place.utf16.into() }
    }
}

/// Converts offsets into a text from bytes to another unit, in place and in any order.
///
/// Errors: "invalid_text"; "input" for an offset that is behind the end or inside a character, and then no
/// offset is changed; "option" for an unknown unit; "null_argument" if `offsets` is NULL and `count` is not
/// 0. Returns true if it succeeds. `error` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_convert_offsets(
    text: MobilebertText,
    unit: MobilebertUnit,
    offsets: *mut usize,
    count: usize,
    error: ErrorOut<'_>,
) -> bool {
    let converted = run(error, || {
        let unit = offset_unit(unit)?;
        let text = memory::text(text, "text")?;
        memory::change(offsets, count, "offsets", |offsets| Ok(unit.convert(text, offsets)?))
    });
    converted.is_some()
}

fn offset_unit(unit: MobilebertUnit) -> Result<OffsetUnit> {
    match unit {
        MOBILEBERT_UNIT_BYTE => Ok(OffsetUnit::Byte),
        MOBILEBERT_UNIT_CODE_POINT => Ok(OffsetUnit::Char),
        MOBILEBERT_UNIT_UTF16 => Ok(OffsetUnit::Utf16),
        other => Err(Failure::option("unit", "one of the constants MOBILEBERT_UNIT_...", other)),
    }
}

/// A text that this library made.
pub struct MobilebertUtf8 {
    text: MobilebertText,
    /// The owner of the text's bytes.
    _strings: Strings,
}

/// Makes UTF-8 of `count` UTF-16 units, the form in which Java, JavaScript, Qt and Windows keep texts.
///
/// Errors: "invalid_text" with the position of the first half of a surrogate pair that has no other half;
/// "null_argument" if `units` is NULL and `count` is not 0. Returns NULL if it fails. The caller frees the
/// result with `mobilebert_utf8_free`. `error` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_utf8_from_utf16(
    units: *const u16,
    count: usize,
    error: ErrorOut<'_>,
) -> Option<Box<MobilebertUtf8>> {
    run(error, || {
        let mut strings = Strings::default();
        let text = strings.keep(&from_utf16("text", memory::array(units, count, "units")?)?);
        Ok(Box::new(MobilebertUtf8 { text, _strings: strings }))
    })
}

/// Returns the text, which belongs to `utf8`. It is empty if `utf8` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_utf8_text(utf8: Option<&MobilebertUtf8>) -> MobilebertText {
    utf8.map_or(MobilebertText { data: c"".as_ptr(), size: 0 }, |utf8| utf8.text)
}

/// Frees a text. NULL is allowed.
#[unsafe(no_mangle)]
pub extern "C" fn mobilebert_utf8_free(utf8: Option<Box<MobilebertUtf8>>) {
    quietly(|| drop(utf8));
}
