//! Lists of texts in whatever form a language keeps them, and input that is not text.

use crate::failure::{Failure, Position, Result};

/// A list of texts that a binding keeps in a form of its own, such as strings of its language or a column of
/// a table. It is read in place.
pub trait Texts: Sync {
    /// Returns the number of texts.
    fn count(&self) -> usize;

    /// Returns a text. `index` is below [`Texts::count`]; behind it, the text is empty.
    fn text(&self, index: usize) -> &str;

    /// Returns the index of a text in the caller's own list, for errors. It differs from `index` if the
    /// binding has left texts out.
    fn row(&self, index: usize) -> usize {
        index
    }
}

impl<T: AsRef<str> + Sync> Texts for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn text(&self, index: usize) -> &str {
        self.get(index).map_or("", AsRef::as_ref)
    }
}

impl<T: AsRef<str> + Sync, const N: usize> Texts for [T; N] {
    fn count(&self) -> usize {
        N
    }

    fn text(&self, index: usize) -> &str {
        self.get(index).map_or("", AsRef::as_ref)
    }
}

/// Reads UTF-16 units, the form in which JavaScript, Java and Kotlin keep texts.
///
/// # Errors
/// `invalid_text` with the position of the first half of a surrogate pair that has no other half. `what` is
/// the role of the text.
pub fn from_utf16(what: &str, units: &[u16]) -> Result<String> {
    let (mut text, mut position) = (String::new(), Position { byte: 0, char: 0, utf16: 0 });
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => {
                text.push(c);
                position.byte += c.len_utf8();
                position.char += 1;
                position.utf16 += c.len_utf16();
            }
            Err(lone) => {
                return Err(Failure::lone_surrogate(what, lone.unpaired_surrogate().into(), position));
            }
        }
    }
    Ok(text)
}

/// Makes the failure for a text given by its code points, of which the one at `char` is half of a surrogate
/// pair. This is how Python keeps such a text. `before` are the code points in front of it.
pub fn lone_surrogate(what: &str, surrogate: u32, before: &str) -> Failure {
    Failure::lone_surrogate(what, surrogate, Position::behind(before))
}

/// Reads bytes that should be UTF-8, the form in which C programs and files keep texts.
///
/// # Errors
/// `invalid_text` with the position of the first byte that cannot stand there. Half of a surrogate pair,
/// written as if it were a character, is called that. `what` is the role of the text.
pub fn from_utf8<'a>(what: &str, bytes: &'a [u8]) -> Result<&'a str> {
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    let (before, rest) = bytes.split_at(error.valid_up_to());
    let before = std::str::from_utf8(before).unwrap_or_default();
    Err(match *rest {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            let surrogate = 0xD000 | u32::from(second & 0x3F) << 6 | u32::from(third & 0x3F);
            lone_surrogate(what, surrogate, before)
        }
        [byte, ..] => Failure::not_utf8(what, byte, before),
        [] => Failure::not_utf8(what, 0, before),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_place() {
        assert_eq!(from_utf8("text", "é😀".as_bytes()).unwrap(), "é😀");
        let failure = from_utf8("question", b"\xF0\x9F\x98\x80 \xE9t\xE9").unwrap_err();
        assert_eq!(failure.position(), Some(Position { byte: 5, char: 2, utf16: 3 }));
        assert_eq!(
            failure.message(),
            "the question is not UTF-8: byte 5 is 0xE9; convert the text to UTF-8, or repair the program that \
             cut it"
        );
        // A character that was cut, and halves of surrogate pairs as some programs write them.
        assert_eq!(from_utf8("text", &"é".as_bytes()[..1]).unwrap_err().code(), "invalid_text");
        let failure = from_utf8("text", b"\xC3\xA9\xED\xA0\xBDx").unwrap_err();
        assert_eq!(failure, lone_surrogate("text", 0xD83D, "é"));
    }

    #[test]
    fn pairs_are_read_and_halves_are_refused() {
        let units: Vec<u16> = "é😀 東京".encode_utf16().collect();
        assert_eq!(from_utf16("text", &units).unwrap(), "é😀 東京");
        let mut cut = units.clone();
        cut.remove(1);
        let failure = from_utf16("text", &cut).unwrap_err();
        assert_eq!(failure.code(), "invalid_text");
        assert_eq!(failure.position(), Some(Position { byte: 2, char: 1, utf16: 1 }));
        assert_eq!(failure, lone_surrogate("text", 0xDE00, "é"));
        let mut last = units;
        last.push(0xD83D);
        assert_eq!(
            from_utf16("context", &last).unwrap_err().message(),
            "the context is not Unicode text: code point 5 is U+D83D, half of a surrogate pair; remove it, \
             or repair the program that cut the pair"
        );
    }
}
