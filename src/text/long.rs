//! The tokens of a text of any length, without all of them in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::encoding::TokenizedText;
use super::span::Span;
use super::tokenizer::Tokenizer;
use super::window::{TokenSource, WindowOptions, Windows};
use crate::error::Result;

/// The most bytes of a text whose tokens are all kept. The tokens of a text take about six times its own
/// memory.
const SHORT: usize = 1 << 20;

/// The number of pieces whose tokens are kept. The windows of a pass, and those whose rows arrive, lie in one
/// or two of them.
const RECENT: usize = 4;

/// The tokens of a text.
#[derive(Debug)]
pub(crate) enum TextTokens {
    /// All tokens of a text that is not long, or that cannot be cut.
    Whole(TokenizedText),
    /// A long text.
    Pieces(Pieces),
}

/// A long text, cut where that makes no difference to its tokens. A first reading counts the tokens of each
/// piece. They are then made again when a window needs them.
#[derive(Debug)]
pub(crate) struct Pieces {
    tokenizer: Arc<Tokenizer>,
    text: Arc<str>,
    pieces: Vec<Piece>,
    len: usize,
    recent: Mutex<VecDeque<(usize, Arc<TokenizedText>)>>,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// The first byte.
    byte: usize,
    /// The index of the first token, or of the next piece's if this one has none.
    token: usize,
    /// The number of the first word.
    word: u32,
}

impl TextTokens {
    /// Splits a text into its tokens.
    ///
    /// # Errors
    /// The errors of [`Tokenizer::tokenize`].
    pub(crate) fn read(tokenizer: &Arc<Tokenizer>, text: &Arc<str>) -> Result<Self> {
        Self::read_with(tokenizer, text, SHORT)
    }

    fn read_with(tokenizer: &Arc<Tokenizer>, text: &Arc<str>, short: usize) -> Result<Self> {
        if text.len() <= short || !tokenizer.allows_pieces() {
            return tokenizer.tokenize(text).map(TextTokens::Whole);
        }
        let (mut pieces, mut piece) = (Vec::new(), Piece { byte: 0, token: 0, word: 0 });
        while piece.byte < text.len() {
            let end = piece.byte + tokenizer.first_piece(&text[piece.byte..]);
            let tokens = tokenizer.piece(text, Span::new(piece.byte, end), piece.word)?;
            pieces.push(piece);
            let word = tokens.words.last().map_or(piece.word, |last| last + 1);
            piece = Piece { byte: end, token: piece.token + tokens.len(), word };
        }
        Ok(TextTokens::Pieces(Pieces {
            tokenizer: Arc::clone(tokenizer),
            text: Arc::clone(text),
            pieces,
            len: piece.token,
            recent: Mutex::default(),
        }))
    }

    /// Returns the number of tokens.
    pub(crate) fn len(&self) -> usize {
        match self {
            TextTokens::Whole(tokens) => tokens.len(),
            TextTokens::Pieces(pieces) => pieces.len(),
        }
    }

    /// Does what [`TokenizedText::windows`] does.
    pub(crate) fn windows(&self, options: &WindowOptions) -> Result<Windows<'_>> {
        self.source().windows(options)
    }

    /// Does what [`TokenizedText::windows_with_question`] does.
    pub(crate) fn windows_with_question<'a>(
        &'a self,
        question: &'a TokenizedText,
        options: &WindowOptions,
    ) -> Result<Windows<'a>> {
        self.source().windows_with_question(question, options)
    }

    fn source(&self) -> TokenSource<'_> {
        match self {
            TextTokens::Whole(tokens) => TokenSource::Whole(tokens),
            TextTokens::Pieces(pieces) => TokenSource::Pieces(pieces),
        }
    }
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the tokens of a range, or `None` if there are not so many.
    pub(super) fn tokens(&self, range: Range<usize>) -> Option<TokenizedText> {
        if range.end > self.len {
            return None;
        }
        let mut part = self.tokenizer.no_tokens();
        let mut index = self.pieces.partition_point(|piece| piece.token <= range.start).saturating_sub(1);
        while part.len() < range.len() {
            let first = self.pieces.get(index)?.token;
            let tokens = self.piece(index)?;
            let wanted = range.start.max(first) - first..(range.end - first).min(tokens.len());
            part.ids.extend_from_slice(&tokens.ids[wanted.clone()]);
            part.spans.extend_from_slice(&tokens.spans[wanted.clone()]);
            part.words.extend_from_slice(&tokens.words[wanted]);
            index += 1;
        }
        Some(part)
    }

    /// Returns the tokens of a piece.
    fn piece(&self, index: usize) -> Option<Arc<TokenizedText>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tokens)) = recent.iter().find(|(of, _)| *of == index) {
            return Some(Arc::clone(tokens));
        }
        let piece = self.pieces.get(index)?;
        let end = self.pieces.get(index + 1).map_or(self.text.len(), |next| next.byte);
        // This cannot fail, because the same piece was tokenised when the text was read.
        let tokens = self.tokenizer.piece(&self.text, Span::new(piece.byte, end), piece.word).ok()?;
        let tokens = Arc::new(tokens);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((index, Arc::clone(&tokens)));
        Some(tokens)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::{Encoding, TokenizerFiles};

    fn tokenizer() -> Arc<Tokenizer> {
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\n.\n字\ne\n";
        let files = TokenizerFiles::new("test").vocab("vocab.txt", vocab.as_bytes());
        Arc::new(Tokenizer::from_files(&files).unwrap())
    }

    fn text() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just(" "),
            Just("  \n"),
            Just("a"),
            Just("ab"),
            Just("e\u{301}"),
            Just("."),
            Just("字"),
            Just("[SEP]"),
            Just("\0"),
            Just("😀"),
        ];
        // One piece of the tokenizer is 16 KiB, so that some texts have several.
        (proptest::collection::vec(word, 1..200), 1_usize..400)
            .prop_map(|(words, n)| words.concat().repeat(n))
    }

    #[test]
    fn tokens_behind_the_last_one_are_none() {
        let (tokenizer, text) = (tokenizer(), Arc::<str>::from("a b . a"));
        let TextTokens::Pieces(pieces) = TextTokens::read_with(&tokenizer, &text, 0).unwrap() else {
            panic!("the text is kept whole");
        };
        assert_eq!(pieces.tokens(1..4).unwrap().len(), 3);
        assert_eq!(pieces.tokens(4..4).unwrap().len(), 0);
        for range in [3..5, 4..5, 7..9, 9..9] {
            assert!(pieces.tokens(range.clone()).is_none(), "{range:?}");
        }
    }

    /// A word that is never split may hold places where texts are cut.
    #[test]
    fn texts_with_words_that_are_never_split_are_kept_whole() {
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n.\na.b\n";
        let files = TokenizerFiles::new("test").vocab("vocab.txt", vocab.as_bytes());
        let files = files.tokenizer_config("config", br#"{"never_split": ["a.b"]}"#.as_slice());
        let tokenizer = Arc::new(Tokenizer::from_files(&files).unwrap());
        let text = Arc::<str>::from("a a.b b ".repeat(5000));
        let TextTokens::Whole(tokens) = TextTokens::read(&tokenizer, &text).unwrap() else {
            panic!("the text is cut into pieces");
        };
        assert_eq!(tokens.ids()[..3], [5, 8, 6]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn windows_of_pieces_are_those_of_the_whole_text(
            text in text(),
            max_seq_len in 8_usize..600,
            order in 0_usize..3,
        ) {
            let (tokenizer, text) = (tokenizer(), Arc::<str>::from(text));
            let whole = tokenizer.tokenize(&text).unwrap();
            let pieces = TextTokens::read_with(&tokenizer, &text, 0).unwrap();
            prop_assert!(matches!(pieces, TextTokens::Pieces(_)));
            prop_assert_eq!(pieces.len(), whole.len());
            let question = tokenizer.tokenize("a b").unwrap();
            let options = WindowOptions::new(max_seq_len).doc_stride(1);
            let pairs = [
                (whole.windows(&options).unwrap(), pieces.windows(&options).unwrap()),
                (
                    whole.windows_with_question(&question, &options).unwrap(),
                    pieces.windows_with_question(&question, &options).unwrap(),
                ),
            ];
            for (expected, found) in pairs {
                prop_assert_eq!(expected.len(), found.len());
                // Windows are also asked for out of order.
                for i in 0..expected.len().min(60) {
                    let i = (i * [1, 3, 7919][order]) % expected.len();
                    let sequence_len = expected.sequence_len(i);
                    let (expected, found) = (expected.get(i).unwrap(), found.get(i).unwrap());
                    prop_assert_eq!(expected.tokens(), found.tokens());
                    prop_assert_eq!(sequence_len, expected.encoding().len());
                    let (e, f) = (expected.encoding(), found.encoding());
                    prop_assert_eq!((e.ids(), e.type_ids(), e.spans()), (f.ids(), f.type_ids(), f.spans()));
                    let words = |e: &Encoding| (0..e.len()).map(|p| e.word_id(p)).collect::<Vec<_>>();
                    prop_assert_eq!(words(e), words(f));
                }
            }
        }
    }
}
