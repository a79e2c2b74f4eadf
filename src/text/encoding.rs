//! The tokens of a text, and the sequences that a model reads: `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`.

use std::ops::Range;
use std::sync::Arc;

use super::span::Span;
use super::vocabulary::Vocabulary;

/// The tokens of one text, without special tokens around them. They are made once by
/// [`Tokenizer::tokenize`](super::Tokenizer::tokenize), and can then be encoded, paired or cut into windows
/// any number of times.
#[derive(Debug, Clone)]
pub struct TokenizedText {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) ids: Vec<u32>,
    pub(crate) spans: Vec<Span>,
    pub(crate) words: Vec<u32>,
}

impl TokenizedText {
    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns true if the text has no token. Such a text is empty or holds only white space and control
    /// characters.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the bytes of the text that each token came from. Their starts never decrease.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Returns the word that each token is a part of, counted from 0. A punctuation mark, a CJK character and
    /// a special token in the text are words of their own.
    pub fn word_ids(&self) -> &[u32] {
        &self.words
    }

    /// Returns the token's string, as the vocabulary spells it, or `None` behind the last token.
    pub fn token(&self, position: usize) -> Option<&str> {
        self.vocabulary.token(*self.ids.get(position)?)
    }
}

/// The input of a model: token ids, segment ids, and for each token the place in the text that it came from.
///
/// ```
/// # use mobilebert::{Tokenizer, TokenizerFiles, Span};
/// # let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\nbuilt\nit\n?\nada\n##s\n";
/// # let tokenizer = Tokenizer::from_files(&TokenizerFiles::new("doc").vocab("vocab.txt", vocab.as_bytes()))?;
/// let encoding = tokenizer.encode_pair("Who built it?", "Adas")?;
/// let tokens: Vec<&str> = encoding.tokens().collect();
/// assert_eq!(tokens, ["[CLS]", "who", "built", "it", "?", "[SEP]", "ada", "##s", "[SEP]"]);
/// assert_eq!(encoding.type_ids(), [0, 0, 0, 0, 0, 0, 1, 1, 1]);
/// assert_eq!(encoding.span(2), Span::new(4, 9)); // "built", bytes of the first text
/// assert_eq!(encoding.span(7), Span::new(3, 4)); // "s", bytes of the second text
/// assert_eq!((encoding.sequence(0), encoding.sequence(2), encoding.sequence(7)), (None, Some(0), Some(1)));
/// # Ok::<(), mobilebert::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoding {
    vocabulary: Arc<Vocabulary>,
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    spans: Vec<Span>,
    words: Vec<u32>,
    /// The positions of each text's tokens.
    texts: [Range<usize>; 2],
}

impl Encoding {
    /// The number of special tokens around one text: `[CLS]` and `[SEP]`.
    pub const SPECIAL_SINGLE: usize = 2;
    /// The number of special tokens around two texts: `[CLS]` and two `[SEP]`.
    pub const SPECIAL_PAIR: usize = 3;

    pub(crate) fn build(
        (first, kept): (&TokenizedText, Range<usize>),
        pair: Option<(&TokenizedText, Range<usize>)>,
    ) -> Self {
        let vocabulary = first.vocabulary.clone();
        let special = vocabulary.special;
        let capacity = kept.len() + pair.as_ref().map_or(2, |p| p.1.len() + 3);
        let mut encoding = Self {
            vocabulary,
            ids: Vec::with_capacity(capacity),
            type_ids: Vec::with_capacity(capacity),
            spans: Vec::with_capacity(capacity),
            words: Vec::with_capacity(capacity),
            texts: [0..0, 0..0],
        };
        encoding.push_special(special.cls, 0);
        encoding.push_text(0, first, kept);
        encoding.push_special(special.sep, 0);
        if let Some((second, kept)) = pair {
            encoding.push_text(1, second, kept);
            encoding.push_special(special.sep, 1);
        }
        encoding
    }

    fn push_special(&mut self, id: u32, type_id: u32) {
        self.ids.push(id);
        self.type_ids.push(type_id);
        self.spans.push(Span::default());
        self.words.push(0);
    }

    fn push_text(&mut self, sequence: u32, text: &TokenizedText, kept: Range<usize>) {
        let start = self.ids.len();
        self.ids.extend_from_slice(&text.ids[kept.clone()]);
        self.spans.extend_from_slice(&text.spans[kept.clone()]);
        self.words.extend_from_slice(&text.words[kept]);
        self.type_ids.resize(self.ids.len(), sequence);
        self.texts[sequence as usize] = start..self.ids.len();
    }

    /// Returns the number of tokens, special ones included.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns false, because `[CLS]` and `[SEP]` are always there.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the segment of each token: 0 up to the first `[SEP]`, 1 from there on.
    pub fn type_ids(&self) -> &[u32] {
        &self.type_ids
    }

    /// Returns the bytes of the text that each token came from, which are 0..0 for the special tokens around
    /// the texts.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Returns the bytes of its text that the token at `position` came from.
    ///
    /// # Panics
    /// Panics if there is no such token.
    pub fn span(&self, position: usize) -> Span {
        self.spans[position]
    }

    /// Returns the text that the token came from, 0 or 1, or `None` for the special tokens around the texts.
    pub fn sequence(&self, position: usize) -> Option<usize> {
        self.texts.iter().position(|text| text.contains(&position))
    }

    /// Returns true for a token that was put around the texts. A special token that the text itself spells
    /// out does not count.
    pub fn is_special(&self, position: usize) -> bool {
        self.sequence(position).is_none()
    }

    /// Returns [`Encoding::is_special`] of every token as 0 or 1, like Hugging Face's `special_tokens_mask`.
    pub fn special_tokens_mask(&self) -> Vec<u8> {
        (0..self.len()).map(|position| u8::from(self.is_special(position))).collect()
    }

    /// Returns the word of its text that the token is a part of, counted from 0, or `None` for the special
    /// tokens around the texts.
    pub fn word_id(&self, position: usize) -> Option<usize> {
        self.sequence(position).map(|_| self.words[position] as usize)
    }

    /// Returns the positions of the tokens of text 0 or 1. The range is empty if there is no such text.
    pub fn positions(&self, sequence: usize) -> Range<usize> {
        self.texts.get(sequence).cloned().unwrap_or(0..0)
    }

    /// Returns the token's string, as the vocabulary spells it, or `None` behind the last token.
    pub fn token(&self, position: usize) -> Option<&str> {
        self.vocabulary.token(*self.ids.get(position)?)
    }

    /// Iterates over the strings of all tokens.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.ids.iter().map(|&id| self.vocabulary.token(id).unwrap_or_default())
    }
}
