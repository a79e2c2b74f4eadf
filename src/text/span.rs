//! The place in a text that a token came from, in bytes and in the units of other languages.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A piece of a text: the bytes `start..end` of the string that the caller passed in. Both ends are on
/// character boundaries.
///
/// ```
/// use mobilebert::Span;
///
/// let span = Span::new(7, 12);
/// assert_eq!(&"naïve café"[Span::new(0, 6)], "naïve");
/// assert_eq!((span.len(), span.range()), (5, 7..12));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Span {
    /// Makes the span of the bytes `start..end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Returns true if the span holds no byte. Tokens that do not come from the text have such a span.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns the span as a range of the standard library.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Returns the smallest span that holds both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Self {
        span.range()
    }
}

impl std::ops::Index<Span> for str {
    type Output = str;

    fn index(&self, span: Span) -> &str {
        &self[span.range()]
    }
}

/// The number of bytes between two checkpoints. It is small enough to scan, and large enough that the table
/// is 1/16 of the text.
const STEP: usize = 256;

/// A converter between byte offsets, code point offsets (Python, Rust `char`) and UTF-16 offsets (JavaScript,
/// Java, Windows) of one text. Building it reads the text once. A lookup reads at most 256 bytes, however
/// long the text is.
///
/// ```
/// use mobilebert::{Span, TextIndex};
///
/// let text = "a😀é";
/// let index = TextIndex::new(text);
/// assert_eq!(index.chars(5), Some(2)); // "a😀" is 5 bytes, 2 code points
/// assert_eq!(index.utf16(5), Some(3)); // and 3 UTF-16 units
/// assert_eq!(index.chars(2), None); // inside 😀
/// assert_eq!(index.byte_of_char(2), Some(5));
/// assert_eq!(index.byte_of_utf16(2), None); // between its surrogates
/// assert_eq!(index.chars_span(Span::new(5, 7)), Some(Span::new(2, 3)));
/// ```
#[derive(Debug, Clone)]
pub struct TextIndex<'a> {
    text: &'a str,
    /// The number of code points and UTF-16 units before byte `STEP * i`, where a character counts at its
    /// first byte. The list is empty if the text is ASCII, where all offsets are equal.
    checkpoints: Vec<Count>,
    total: Count,
}

/// The number of code points and UTF-16 units of some bytes. A character counts at its first byte.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) chars: usize,
    pub(super) utf16: usize,
}

impl Count {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.chars += usize::from(byte & 0xC0 != 0x80);
            // Characters of four bytes are the ones outside the basic plane, which have two UTF-16 units.
            self.utf16 += usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0);
        }
    }
}

impl<'a> TextIndex<'a> {
    /// Counts the text's characters.
    pub fn new(text: &'a str) -> Self {
        let mut total = Count::default();
        if text.is_ascii() {
            total = Count { chars: text.len(), utf16: text.len() };
            return Self { text, checkpoints: Vec::new(), total };
        }
        let mut checkpoints = Vec::with_capacity(text.len() / STEP + 1);
        for block in text.as_bytes().chunks(STEP) {
            checkpoints.push(total);
            total.add(block);
        }
        Self { text, checkpoints, total }
    }

    /// Returns the text that the index was made for.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the number of code points before byte `byte`, or `None` inside a character or behind the end.
    pub fn chars(&self, byte: usize) -> Option<usize> {
        self.count(byte).map(|c| c.chars)
    }

    /// Returns the number of UTF-16 units before byte `byte`, or `None` inside a character or behind the end.
    pub fn utf16(&self, byte: usize) -> Option<usize> {
        self.count(byte).map(|c| c.utf16)
    }

    /// Converts a byte span to code points. The result is `None` if either end is inside a character or
    /// behind the text.
    pub fn chars_span(&self, span: Span) -> Option<Span> {
        Some(Span::new(self.chars(span.start)?, self.chars(span.end)?))
    }

    /// Returns the byte where code point `offset` begins. The number of code points gives the text's length,
    /// and anything behind that gives `None`.
    pub fn byte_of_char(&self, offset: usize) -> Option<usize> {
        self.byte(offset, |c| c.chars)
    }

    /// Returns the byte where UTF-16 unit `offset` begins, or `None` between two surrogates or behind the
    /// end.
    pub fn byte_of_utf16(&self, offset: usize) -> Option<usize> {
        self.byte(offset, |c| c.utf16)
    }

    fn count(&self, byte: usize) -> Option<Count> {
        if !self.text.is_char_boundary(byte) {
            return None;
        }
        if self.checkpoints.is_empty() {
            return Some(Count { chars: byte, utf16: byte });
        }
        let block = (byte / STEP).min(self.checkpoints.len() - 1);
        let mut count = self.checkpoints[block];
        count.add(&self.text.as_bytes()[block * STEP..byte]);
        Some(count)
    }

    fn byte(&self, offset: usize, unit: impl Fn(&Count) -> usize) -> Option<usize> {
        if offset >= unit(&self.total) {
            return (offset == unit(&self.total)).then_some(self.text.len());
        }
        if self.checkpoints.is_empty() {
            return Some(offset);
        }
        // This is the last block that starts at or before the offset. Its first bytes may continue a
        // character that was counted in the block before.
        let block = self.checkpoints.partition_point(|c| unit(c) <= offset) - 1;
        let mut count = self.checkpoints[block];
        let start = block * STEP;
        for (i, &byte) in self.text.as_bytes()[start..].iter().enumerate() {
            if byte & 0xC0 != 0x80 && unit(&count) >= offset {
                return (unit(&count) == offset).then_some(start + i);
            }
            count.add(&[byte]);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str) {
        let index = TextIndex::new(text);
        let (mut chars, mut utf16) = (0, 0);
        for (byte, c) in text.char_indices() {
            assert_eq!(
                (index.chars(byte), index.utf16(byte)),
                (Some(chars), Some(utf16)),
                "byte {byte} of {text:?}"
            );
            assert_eq!(index.byte_of_char(chars), Some(byte), "char {chars} of {text:?}");
            assert_eq!(index.byte_of_utf16(utf16), Some(byte), "unit {utf16} of {text:?}");
            for inside in 1..c.len_utf8() {
                assert_eq!((index.chars(byte + inside), index.utf16(byte + inside)), (None, None));
            }
            if c.len_utf16() == 2 {
                assert_eq!(index.byte_of_utf16(utf16 + 1), None);
            }
            chars += 1;
            utf16 += c.len_utf16();
        }
        let end = text.len();
        assert_eq!((index.chars(end), index.utf16(end)), (Some(chars), Some(utf16)));
        assert_eq!((index.byte_of_char(chars), index.byte_of_utf16(utf16)), (Some(end), Some(end)));
        assert_eq!(
            (index.chars(end + 1), index.byte_of_char(chars + 1), index.byte_of_utf16(utf16 + 1)),
            (None, None, None)
        );
    }

    #[test]
    fn every_offset_around_the_block_edge() {
        for length in [0, 1, STEP - 1, STEP, STEP + 1, 2 * STEP] {
            for tail in ["", "é", "字", "😀", "😀😀"] {
                check(&format!("{}{tail}", "a".repeat(length)));
                check(&format!("é{}{tail}b{tail}", "a".repeat(length)));
            }
        }
        check(&"😀".repeat(STEP));
        check(&"字😀é".repeat(STEP));
    }

    proptest! {
        #[test]
        fn round_trips(text in "\\PC{0,300}") {
            check(&text);
        }
    }
}
