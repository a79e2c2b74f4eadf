//! Token strings and their ids.

use crate::error::{Error, ErrorKind, Result};

/// The data that a tokenizer shares with its encodings: token strings, ids and the five tokens with a role.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) file: String,
    pub(crate) tokens: TokenStrings,
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
        self.tokens.get(id)
    }
}

/// Token strings by id. They stand behind each other in one piece of memory: with a string of its own for
/// each of 30,000 tokens, in two maps, opening a tokenizer took 115 million instructions instead of 71.
#[derive(Debug)]
pub(crate) struct TokenStrings {
    text: String,
    /// Ids in ascending order, each with the end of its token in `text`. The token begins where the one
    /// before ends.
    ends: Vec<(u32, usize)>,
}

impl TokenStrings {
    /// Sorts tokens by their ids. If two have the same id, the error is that id and both tokens.
    pub(crate) fn new(
        tokens: impl IntoIterator<Item = (String, u32)>,
    ) -> std::result::Result<Self, (u32, String, String)> {
        let mut tokens: Vec<_> = tokens.into_iter().collect();
        tokens.sort_unstable_by(|(a, a_id), (b, b_id)| (a_id, a).cmp(&(b_id, b)));
        if let Some([(a, id), (b, _)]) = tokens.array_windows().find(|[a, b]| a.1 == b.1) {
            return Err((*id, a.clone(), b.clone()));
        }
        let mut text = String::with_capacity(tokens.iter().map(|(token, _)| token.len()).sum());
        let ends = tokens.iter().map(|(token, id)| {
            text.push_str(token);
            (*id, text.len())
        });
        let ends = ends.collect();
        Ok(Self { text, ends })
    }

    pub(crate) fn get(&self, id: u32) -> Option<&str> {
        // The ids of most vocabularies have no gaps, so an id is its own place.
        let place = match self.ends.get(id as usize) {
            Some((found, _)) if *found == id => id as usize,
            _ => self.ends.binary_search_by_key(&id, |&(id, _)| id).ok()?,
        };
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some(&self.text[start..self.ends[place].1])
    }

    /// Returns the ids and their tokens, in the order of the ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(id, end)| (id, &self.text[std::mem::replace(&mut start, end)..end]))
    }

    /// Returns the largest id.
    pub(crate) fn last_id(&self) -> Option<u32> {
        self.ends.last().map(|&(id, _)| id)
    }
}

pub(crate) fn problem(file: &str, problem: impl Into<String>) -> Error {
    ErrorKind::Tokenizer { file: file.to_owned(), problem: problem.into() }.into()
}

/// Reads `vocab.txt`. It has one token a line, whose id is the line's index. Lines end as in Python's text
/// files, in `\n`, `\r\n` or `\r`. Blank lines at the end are no tokens.
///
/// A token that stands on several lines has the id of the last one, as in `transformers`, and gets an entry
/// in `warnings`. `insert` keeps a token with its id and returns the id that it had before, as a map does.
pub(crate) fn parse_lines(
    file: &str,
    bytes: &[u8],
    warnings: &mut Vec<String>,
    mut insert: impl FnMut(String, u32) -> Option<u32>,
) -> Result<()> {
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
    let mut repeated = Vec::new();
    let lines = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    for (id, token) in lines.enumerate() {
        let id = u32::try_from(id).map_err(|_| problem(file, "has more than 4294967295 lines"))?;
        if let Some(first) = insert(token.to_owned(), id) {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn parse(bytes: &[u8], warnings: &mut Vec<String>) -> Result<HashMap<String, u32>> {
        let mut ids = HashMap::new();
        parse_lines("v", bytes, warnings, |token, id| ids.insert(token, id))?;
        Ok(ids)
    }

    #[test]
    fn tokens_are_found_by_id_with_gaps_and_without() {
        for ids in [[0, 1, 2, 3], [3, 7, 8, u32::MAX], [1, 0, 3, 2], [9, 5, 1, 2]] {
            let words = ["", "b", "\u{e9}t\u{e9}", "d"];
            let tokens = TokenStrings::new(words.map(str::to_owned).into_iter().zip(ids)).unwrap();
            for (word, id) in words.into_iter().zip(ids) {
                assert_eq!(tokens.get(id), Some(word), "{ids:?}");
            }
            assert_eq!((tokens.get(4), tokens.get(6)), (None, None), "{ids:?}");
            assert_eq!(tokens.last_id(), ids.into_iter().max());
            let mut pairs: Vec<_> = ids.into_iter().zip(words).collect();
            pairs.sort();
            assert_eq!(tokens.iter().collect::<Vec<_>>(), pairs);
        }
        let same = [("b".to_owned(), 4), ("c".to_owned(), 1), ("a".to_owned(), 4)];
        assert_eq!(TokenStrings::new(same).unwrap_err(), (4, "a".to_owned(), "b".to_owned()));
    }

    #[test]
    fn line_ends_are_pythons() {
        let ids = parse(b"a\r\nb\rc\n d \n\ne\n\n\n", &mut Vec::new()).unwrap();
        for (id, token) in ["a", "b", "c", " d ", "", "e"].into_iter().enumerate() {
            assert_eq!(ids.get(token), Some(&(id as u32)), "{token:?}");
        }
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn defects_name_their_line() {
        let message = |bytes: &[u8]| parse(bytes, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(message(b""), "v: is empty; expected one token a line");
        assert_eq!(message(b"\n\n"), "v: is empty; expected one token a line");
        assert!(message(b"a\n\xff\n").starts_with("v: line 2 is not valid UTF-8 (byte 2)"));
    }

    #[test]
    fn the_last_of_several_lines_counts() {
        let mut warnings = Vec::new();
        let ids = parse(b"a\nb\na\n\nc\n\na\n", &mut warnings).unwrap();
        assert_eq!((ids["a"], ids["b"], ids[""], ids["c"]), (6, 1, 5, 4));
        assert_eq!(
            warnings,
            ["v: lines 1 and 3 both hold \"a\"; the last one counts (and 2 more such lines)"]
        );
    }
}
