//! Places to cut long texts into pieces that are tokenised one after another.

use super::special::AddedToken;

/// The most bytes of a text that are tokenised at once. Longer texts are tokenised piece by piece, because
/// the `tokenizers` crate takes some 100 bytes of memory for each byte that it is given at once.
const CHUNK: usize = 16 << 10;

/// The places where a text can be cut without changing its tokens.
#[derive(Debug, Clone)]
pub(crate) struct Breaks {
    /// The bytes that begin a character which belongs to no word before it, under BERT's normalisation and
    /// splitting: white space, punctuation, CJK. None of these characters composes with what stands before
    /// it, or is reordered around it.
    before: [bool; 256],
    /// The most bytes in a piece, if the text can be cut within them.
    pub(crate) chunk: usize,
}

impl Breaks {
    /// Allows no cuts, so every text is one piece.
    pub(crate) fn none() -> Self {
        Self { before: [false; 256], chunk: CHUNK }
    }

    /// Allows the cuts of BERT's rules, with these added tokens and with or without CJK characters as words.
    pub(crate) fn bert(added: &[AddedToken], cjk: bool) -> Self {
        let mut breaks = Self::none();
        // These tokens look at the white space around them.
        if added.iter().any(|token| token.lstrip || token.rstrip) {
            return breaks;
        }
        let plain = added.iter().all(|token| !token.single_word && token.content.is_ascii());
        for byte in 0..=127_u8 {
            breaks.before[usize::from(byte)] =
                matches!(byte, b' ' | b'\n' | b'\r' | b'\t') || plain && byte.is_ascii_punctuation();
        }
        // These are the first bytes of U+5000 to U+8FFF, which are all CJK ideographs.
        breaks.before[0xE5..=0xE8].fill(plain && cjk);
        // White space of every kind is a space once the text is normalised.
        if added.iter().any(|token| token.normalized && token.content.contains(char::is_whitespace)) {
            b" \n\r\t".iter().for_each(|&byte| breaks.before[usize::from(byte)] = false);
        }
        for byte in added.iter().flat_map(|token| token.content.bytes().skip(1)) {
            breaks.before[usize::from(byte)] = false;
        }
        breaks
    }

    /// Returns true if there is a place where a text can be cut.
    pub(crate) fn any(&self) -> bool {
        self.before.contains(&true)
    }

    /// Returns the length of the first piece. It ends at the last possible cut within `chunk` bytes, or at
    /// the first one behind.
    pub(crate) fn first_piece(&self, text: &[u8]) -> usize {
        if text.len() <= self.chunk {
            return text.len();
        }
        let cut = |byte: &u8| self.before[usize::from(*byte)];
        match text[1..self.chunk].iter().rposition(cut) {
            Some(i) => 1 + i,
            None => text[self.chunk..].iter().position(cut).map_or(text.len(), |i| self.chunk + i),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str) -> AddedToken {
        AddedToken { content: content.to_owned(), ..AddedToken::default() }
    }

    fn at(breaks: &Breaks) -> [bool; 4] {
        [b' ', b'.', b',', 0xE5].map(|byte| breaks.before[usize::from(byte)])
    }

    #[test]
    fn pieces_end_in_front_of_a_break() {
        let mut breaks = Breaks::bert(&[token("[SEP]")], true);
        let mut first = |text: &str, chunk| {
            breaks.chunk = chunk;
            text[..breaks.first_piece(text.as_bytes())].to_owned()
        };
        assert_eq!(first("aa bb cc", 7), "aa bb");
        assert_eq!(first("aa bb cc", 8), "aa bb cc");
        assert_eq!(first("aaaa bb", 2), "aaaa");
        assert_eq!(first("aaaa", 2), "aaaa");
        assert_eq!(first(" aaaa", 2), " aaaa");
        assert_eq!(first("字字aa", 4), "字");
        assert_eq!(first("a.b", 2), "a");
        assert_eq!(first("[SEP]]a[", 7), "[SEP]]a", "] is inside a token and [ begins one");
    }

    #[test]
    fn added_tokens_forbid_breaks_inside_them() {
        assert_eq!(at(&Breaks::none()), [false; 4]);
        assert_eq!(at(&Breaks::bert(&[], false)), [true, true, true, false]);
        assert_eq!(at(&Breaks::bert(&[token("[MASK]")], true)), [true; 4]);
        assert_eq!(at(&Breaks::bert(&[token("a b."), token("x")], true)), [false, false, true, true]);
        assert_eq!(at(&Breaks::bert(&[token("字")], true)), [true, false, false, false]);
        let strips = AddedToken { lstrip: true, ..token("[MASK]") };
        assert_eq!(at(&Breaks::bert(&[strips], true)), [false; 4]);
        let single_word = AddedToken { single_word: true, ..token("[MASK]") };
        assert_eq!(at(&Breaks::bert(&[single_word], true)), [true, false, false, false]);
    }
}
