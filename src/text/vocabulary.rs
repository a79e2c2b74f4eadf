//! Token strings and their ids.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};

/// The data that a tokenizer shares with its encodings: token strings, ids and the five tokens with a role.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) file: String,
    pub(crate) tokens: HashMap<u32, Box<str>>,
    pub(crate) special: SpecialIds,
    /// The number of rows of an embedding table with a row for every token.
    pub(crate) size: usize,
    /// The number of rows without those of special tokens that got their ids from their order alone.
    pub(crate) required: usize,
}

/// The ids of the tokens with a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecialIds {
    /// The token that begins every sequence. Sentence-level heads read its hidden state.
    pub cls: u32,
    /// The token that ends every text of a sequence.
    pub sep: u32,
    /// The token that stands for words that the vocabulary cannot spell.
    pub unk: u32,
    /// The blank of fill-mask, or `None` if the vocabulary has none.
    pub mask: Option<u32>,
    /// The padding token, which this engine never makes, or `None` if the vocabulary has none.
    pub pad: Option<u32>,
}

impl Vocabulary {
    pub(crate) fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(AsRef::as_ref)
    }
}

pub(crate) fn problem(file: &str, problem: impl Into<String>) -> Error {
    ErrorKind::Tokenizer { file: file.to_owned(), problem: problem.into() }.into()
}

/// Reads `vocab.txt`. It has one token a line, whose id is the line's index. Lines end as in Python's text
/// files, in `\n`, `\r\n` or `\r`. Blank lines at the end are no tokens.
///
/// A token that stands on several lines has the id of the last one, as in `transformers`, and gets an entry
/// in `warnings`.
pub(crate) fn parse_lines(
    file: &str,
    bytes: &[u8],
    warnings: &mut Vec<String>,
) -> Result<HashMap<String, u32>> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count() + 1;
        problem(
            file,
            format!("line {line} is not valid UTF-8 (byte {}); expected a UTF-8 text file", e.valid_up_to()),
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(problem(file, "is empty; expected one token a line"));
    }
    let (mut ids, mut repeated) = (HashMap::new(), Vec::new());
    let lines = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    for (id, token) in lines.enumerate() {
        let id = u32::try_from(id).map_err(|_| problem(file, "has more than 4294967295 lines"))?;
        if let Some(first) = ids.insert(token.to_owned(), id) {
            repeated.push((token, first + 1, id + 1));
        }
    }
    if let Some((token, first, second)) = repeated.first() {
        let token: String = token.chars().take(100).collect();
        let more = match repeated.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more such lines)"),
        };
        warnings.push(format!(
            "{file}: lines {first} and {second} both hold {token:?}; the last one counts{more}"
        ));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_pythons() {
        let ids = parse_lines("v", b"a\r\nb\rc\n d \n\ne\n\n\n", &mut Vec::new()).unwrap();
        for (id, token) in ["a", "b", "c", " d ", "", "e"].into_iter().enumerate() {
            assert_eq!(ids.get(token), Some(&(id as u32)), "{token:?}");
        }
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn defects_name_their_line() {
        let message =
            |bytes: &[u8]| parse_lines("vocab.txt", bytes, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(message(b""), "vocab.txt: is empty; expected one token a line");
        assert_eq!(message(b"\n\n"), "vocab.txt: is empty; expected one token a line");
        assert!(message(b"a\n\xff\n").starts_with("vocab.txt: line 2 is not valid UTF-8 (byte 2)"));
    }

    #[test]
    fn the_last_of_several_lines_counts() {
        let mut warnings = Vec::new();
        let ids = parse_lines("v", b"a\nb\na\n\nc\n\na\n", &mut warnings).unwrap();
        assert_eq!((ids["a"], ids["b"], ids[""], ids["c"]), (6, 1, 5, 4));
        assert_eq!(
            warnings,
            ["v: lines 1 and 3 both hold \"a\"; the last one counts (and 2 more such lines)"]
        );
    }
}
