//! The place of a result in its text, in the units of all languages.

use mobilebert::{OffsetUnit, Span};

use crate::failure::Result;

/// A piece of a text, counted in each unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// In bytes of UTF-8, which Rust and C count.
    pub byte: Span,
    /// In code points, which Python counts.
    pub char: Span,
    /// In UTF-16 units, which JavaScript, Java, Kotlin and Swift's `NSString` count.
    pub utf16: Span,
}

impl Place {
    /// Returns the piece in one unit.
    pub fn in_unit(&self, unit: OffsetUnit) -> Span {
        match unit {
            OffsetUnit::Byte => self.byte,
            OffsetUnit::Char => self.char,
            OffsetUnit::Utf16 => self.utf16,
        }
    }
}

/// Counts pieces of a text, given in bytes, in all units. The text is read once for all pieces, up to the
/// last of them.
///
/// # Errors
/// `input` if a piece is not one of this text.
pub fn places(text: &str, pieces: &[Span]) -> Result<Vec<Place>> {
    let last = pieces.iter().map(|piece| piece.end.max(piece.start)).max().unwrap_or(0);
    if text.as_bytes().get(..last).is_some_and(<[u8]>::is_ascii) {
        return Ok(pieces.iter().map(|&same| Place { byte: same, char: same, utf16: same }).collect());
    }
    let counted = |unit: OffsetUnit| {
        let mut pieces = pieces.to_vec();
        unit.convert(text, pieces.iter_mut().flat_map(|piece| [&mut piece.start, &mut piece.end]))?;
        Ok::<_, mobilebert::Error>(pieces)
    };
    let (chars, utf16) = (counted(OffsetUnit::Char)?, counted(OffsetUnit::Utf16)?);
    let units = chars.into_iter().zip(utf16);
    Ok(pieces.iter().zip(units).map(|(&byte, (char, utf16))| Place { byte, char, utf16 }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_counts_the_same_piece() {
        let text = "e\u{301}😀\r\n\0東京 Ada";
        let start = text.find("Ada").unwrap();
        let place = places(text, &[Span::new(start, start + 3), Span::new(0, 0)]).unwrap()[0];
        assert_eq!(&text[place.byte], "Ada");
        let by_char: String = text.chars().skip(place.char.start).take(place.char.len()).collect();
        assert_eq!(by_char, "Ada");
        let units: Vec<u16> = text.encode_utf16().collect();
        assert_eq!(String::from_utf16(&units[place.utf16.range()]).unwrap(), "Ada");
    }

    #[test]
    fn plain_texts_count_alike_and_strange_pieces_are_refused() {
        let place = places("plain é", &[Span::new(1, 3)]).unwrap()[0];
        assert_eq!((place.byte, place.char, place.utf16), (place.byte, place.byte, place.byte));
        assert_eq!(places("é", &[Span::new(0, 1)]).unwrap_err().code(), "input");
        assert_eq!(places("a", &[Span::new(0, 2)]).unwrap_err().code(), "input");
    }
}
