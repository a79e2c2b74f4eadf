//! The units of offsets, and the conversion of many offsets at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::span::Count;
use crate::error::{Error, ErrorKind, Result};

/// The unit in which offsets into a text are counted.
///
/// This crate counts bytes everywhere. Other languages count differently, and an offset in the wrong unit is
/// right only up to the first letter outside ASCII.
///
/// ```
/// use mobilebert::OffsetUnit;
///
/// // "é" has two bytes and one UTF-16 unit, "😀" has four bytes and two units.
/// let text = "é😀 Ada";
/// let (mut start, mut end) = (7, 10);
/// OffsetUnit::Utf16.convert(text, [&mut start, &mut end])?;
/// assert_eq!((start, end), (4, 7));
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffsetUnit {
    /// Bytes of UTF-8, which Rust, Go and C count.
    #[default]
    Byte,
    /// Code points, which Python counts. A letter and a combining mark behind it are two.
    Char,
    /// UTF-16 units, which JavaScript, Java, Kotlin, C# and Swift's `NSString` count. A code point above
    /// U+FFFF is two.
    Utf16,
}

impl OffsetUnit {
    /// Every unit.
    pub const ALL: [Self; 3] = [Self::Byte, Self::Char, Self::Utf16];

    /// Returns the name: `byte`, `char` or `utf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::Char => "char",
            Self::Utf16 => "utf16",
        }
    }

    /// Replaces byte offsets of `text` by offsets in this unit.
    ///
    /// The text is read once, up to the largest offset, however many offsets there are. They may come in any
    /// order and repeat, and are sorted first if they are not sorted. A [`TextIndex`](super::TextIndex) suits
    /// better if offsets of one text arrive one by one, or if they are converted to bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if an offset is behind the end of the text or inside a character. No offset is
    /// changed then.
    pub fn convert<'o>(self, text: &str, offsets: impl IntoIterator<Item = &'o mut usize>) -> Result<()> {
        let mut offsets: Vec<&mut usize> = offsets.into_iter().collect();
        if let Some(wrong) = offsets.iter().find(|offset| !text.is_char_boundary(***offset)) {
            return Err(not_a_boundary(text, **wrong));
        }
        if self == Self::Byte {
            return Ok(());
        }
        if !offsets.is_sorted() {
            offsets.sort_unstable();
        }
        let (mut count, mut counted) = (Count::default(), 0);
        for offset in offsets {
            count.add(&text.as_bytes()[counted..*offset]);
            counted = *offset;
            *offset = if self == Self::Char { count.chars } else { count.utf16 };
        }
        Ok(())
    }
}

fn not_a_boundary(text: &str, offset: usize) -> Error {
    let problem = match text.len() {
        len if offset > len => format!("it is behind the end; the text has {len} bytes"),
        _ => "it is inside a character; expected the byte where one begins or ends".to_owned(),
    };
    ErrorKind::Input { place: format!("offset {offset}"), problem }.into()
}

impl fmt::Display for OffsetUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for OffsetUnit {
    type Err = Error;

    /// Reads [`Self::name`], and its plural as the command line writes it.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "byte" | "bytes" => Ok(Self::Byte),
            "char" | "chars" => Ok(Self::Char),
            "utf16" => Ok(Self::Utf16),
            other => Err(Error::option("offsets", "`byte`, `char` or `utf16`", format!("`{other}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Converts one offset with the standard library.
    fn expected(unit: OffsetUnit, text: &str, byte: usize) -> usize {
        match unit {
            OffsetUnit::Byte => byte,
            OffsetUnit::Char => text[..byte].chars().count(),
            OffsetUnit::Utf16 => text[..byte].encode_utf16().count(),
        }
    }

    /// Converts all boundaries at once, in the order of `shuffle`.
    fn check(text: &str, shuffle: impl Fn(&mut Vec<usize>)) {
        let mut bytes: Vec<usize> = (0..=text.len()).filter(|&byte| text.is_char_boundary(byte)).collect();
        shuffle(&mut bytes);
        for unit in OffsetUnit::ALL {
            let mut found = bytes.clone();
            unit.convert(text, &mut found).unwrap();
            let expected: Vec<usize> = bytes.iter().map(|&byte| expected(unit, text, byte)).collect();
            assert_eq!(found, expected, "{unit} of {text:?}");
        }
    }

    const TEXTS: [&str; 9] = [
        "",
        "plain",
        "café",
        "cafe\u{301} e\u{301}\u{327}",
        "👩\u{200d}👩\u{200d}👧\u{fe0f} 🇫🇷 😀",
        "東京で働く、ﾊﾝｶｸ𠮷野家",
        "one\r\ntwo\r\n\r\nthrée\r",
        "nul\0é\0\0😀\0",
        "\u{feff}שלום عليكم \u{10ffff}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}",
    ];

    #[test]
    fn every_boundary_in_every_unit() {
        for text in TEXTS {
            check(text, |_| {});
            check(text, |bytes| bytes.reverse());
            check(text, |bytes| bytes.extend(bytes.clone()));
        }
    }

    #[test]
    fn known_offsets_of_known_texts() {
        for (text, byte, char, utf16) in [
            ("😀x", 4, 1, 2),
            ("e\u{301}x", 3, 2, 2),
            ("東京x", 6, 2, 2),
            ("𠮷x", 4, 1, 2),
            ("a\r\nx", 3, 3, 3),
            ("\0\0x", 2, 2, 2),
        ] {
            assert!(text[byte..].starts_with('x'));
            for (unit, expected) in OffsetUnit::ALL.into_iter().zip([byte, char, utf16]) {
                let mut offset = byte;
                unit.convert(text, [&mut offset]).unwrap();
                assert_eq!(offset, expected, "{unit} of {text:?}");
            }
        }
    }

    #[test]
    fn offsets_between_characters_only() {
        // "aé字" is 1, 2 and 3 bytes.
        for (offset, problem) in [
            (2, "offset 2: it is inside a character; expected the byte where one begins or ends"),
            (5, "offset 5: it is inside a character; expected the byte where one begins or ends"),
            (7, "offset 7: it is behind the end; the text has 6 bytes"),
        ] {
            for unit in OffsetUnit::ALL {
                let mut offsets = [6, offset, 3];
                let error = unit.convert("aé字", &mut offsets).unwrap_err();
                assert_eq!((error.code(), error.to_string().as_str()), ("input", problem));
                assert_eq!(offsets, [6, offset, 3]);
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for unit in OffsetUnit::ALL {
            assert_eq!(unit.name().parse::<OffsetUnit>().unwrap(), unit);
            assert_eq!(serde_json::to_string(&unit).unwrap(), format!("\"{unit}\""));
        }
        assert_eq!("chars".parse::<OffsetUnit>().unwrap(), OffsetUnit::Char);
        assert_eq!("bytes".parse::<OffsetUnit>().unwrap(), OffsetUnit::default());
        let error = "utf8".parse::<OffsetUnit>().unwrap_err().to_string();
        assert_eq!(error, "`offsets` is `utf8`; expected `byte`, `char` or `utf16`");
    }

    proptest! {
        #[test]
        fn any_text_in_any_order(text in "\\PC{0,100}", seed in any::<u64>()) {
            check(&text, |bytes| bytes.sort_by_key(|&byte| (byte as u64).wrapping_mul(seed | 1)));
        }
    }
}
