//! The cutting of a long text into overlapping windows that each fit the model.

use std::ops::Range;

use super::encoding::{Encoding, TokenizedText};
use super::long::Pieces;
use super::span::Span;
use crate::error::{Error, ErrorKind, Result};

/// The length of windows and their overlap.
///
/// `doc_stride` has the meaning that it has in `transformers`: the number of tokens that a window **shares**
/// with the one before it. A window begins `room - doc_stride` tokens behind its predecessor, where `room` is
/// the part of `max_seq_len` that the question and the special tokens leave. In the original `run_squad.py`
/// the option of the same name is the **distance** between two windows' beginnings. With that meaning a value
/// above `room` silently skips tokens. Take `room - value` to carry a value over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowOptions {
    /// The longest sequence in tokens, special tokens included.
    pub max_seq_len: usize,
    /// The number of tokens that two neighbouring windows share.
    pub doc_stride: usize,
    /// The longest question in tokens.
    pub max_question_len: usize,
}

impl WindowOptions {
    /// Makes options for windows of at most `max_seq_len` tokens that share `min(max_seq_len / 2, 128)`, with
    /// questions of up to 64. The shortest windows, of less than ten tokens, share fewer, so that each has a
    /// token of its own behind a question of one token.
    pub fn new(max_seq_len: usize) -> Self {
        /// A question of one token, three special tokens, and one token of the context.
        const LEAST: usize = 5;
        let doc_stride = (max_seq_len / 2).min(128).min(max_seq_len.saturating_sub(LEAST));
        Self { max_seq_len, doc_stride, max_question_len: 64 }
    }

    /// Sets the overlap.
    #[must_use]
    pub fn doc_stride(mut self, tokens: usize) -> Self {
        self.doc_stride = tokens;
        self
    }

    /// Sets the longest question.
    #[must_use]
    pub fn max_question_len(mut self, tokens: usize) -> Self {
        self.max_question_len = tokens;
        self
    }

    /// Checks the options before there is a text. Windows with `reserved` other tokens must have room for
    /// some of it, and each must begin behind the one before.
    pub(crate) fn check(&self, reserved: usize) -> Result<()> {
        let room = self.room(reserved)?;
        if self.doc_stride < room { Ok(()) } else { Err(self.stride_error(room)) }
    }

    fn stride_error(&self, room: usize) -> Error {
        let expected = format!("less than {room}, the room for text in `max_seq_len` {}", self.max_seq_len);
        Error::option("doc_stride", expected, self.doc_stride)
    }

    /// Returns the number of tokens of the text that fit beside `reserved` others.
    pub(crate) fn room(&self, reserved: usize) -> Result<usize> {
        match self.max_seq_len.checked_sub(reserved) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(Error::option("max_seq_len", format!("at least {}", reserved + 1), self.max_seq_len)),
        }
    }
}

/// One window: a sequence for the model, and the tokens of the text that it holds.
#[derive(Debug, Clone)]
pub struct Window {
    encoding: Encoding,
    tokens: Range<usize>,
    sequence: usize,
}

impl Window {
    /// Returns the sequence, special tokens (and question) included.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Returns the sequence without the window around it.
    pub fn into_encoding(self) -> Encoding {
        self.encoding
    }

    /// Returns the token ids, for [`Batch::push`](super::Batch::push).
    pub fn ids(&self) -> &[u32] {
        self.encoding.ids()
    }

    /// Returns the segment ids, for [`Batch::push`](super::Batch::push).
    pub fn type_ids(&self) -> &[u32] {
        self.encoding.type_ids()
    }

    /// Returns the tokens of the text that the window holds, as positions in the [`TokenizedText`].
    pub fn tokens(&self) -> Range<usize> {
        self.tokens.clone()
    }

    /// Returns the positions of these tokens in the sequence.
    pub fn positions(&self) -> Range<usize> {
        self.encoding.positions(self.sequence)
    }

    /// Returns the token of the text at a position of the sequence, or `None` for a special token or the
    /// question's.
    pub fn token(&self, position: usize) -> Option<usize> {
        let positions = self.positions();
        positions.contains(&position).then(|| self.tokens.start + position - positions.start)
    }

    /// Returns the bytes of the text behind a position of the sequence, or `None` for a special token or the
    /// question's.
    pub fn span(&self, position: usize) -> Option<Span> {
        self.positions().contains(&position).then(|| self.encoding.span(position))
    }
}

impl AsRef<Encoding> for Window {
    fn as_ref(&self) -> &Encoding {
        &self.encoding
    }
}

/// The text that windows are cut from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TokenSource<'a> {
    Whole(&'a TokenizedText),
    Pieces(&'a Pieces),
}

/// The windows of a text, made as they are asked for.
#[derive(Debug, Clone)]
pub struct Windows<'a> {
    question: Option<&'a TokenizedText>,
    text: TokenSource<'a>,
    room: usize,
    step: usize,
    next: usize,
    count: usize,
}

impl Windows<'_> {
    /// Makes the window at an index without those before it, or returns `None` behind the last one.
    pub fn get(&self, index: usize) -> Option<Window> {
        let tokens = self.tokens(index)?;
        let part;
        let text = match self.text {
            TokenSource::Whole(text) => (text, tokens.clone()),
            TokenSource::Pieces(pieces) => {
                part = pieces.tokens(tokens.clone())?;
                (&part, 0..part.len())
            }
        };
        let (encoding, sequence) = match self.question {
            Some(question) => (Encoding::build((question, 0..question.len()), Some(text)), 1),
            None => (Encoding::build(text, None), 0),
        };
        Some(Window { encoding, tokens, sequence })
    }

    /// Returns the length of the sequence of the window at an index without making it, or 0 behind the last
    /// one.
    pub(crate) fn sequence_len(&self, index: usize) -> usize {
        match (self.tokens(index), self.question) {
            (Some(tokens), Some(question)) => Encoding::SPECIAL_PAIR + question.len() + tokens.len(),
            (Some(tokens), None) => Encoding::SPECIAL_SINGLE + tokens.len(),
            (None, _) => 0,
        }
    }

    /// Returns the tokens of the text that the window at an index holds, or `None` behind the last one.
    fn tokens(&self, index: usize) -> Option<Range<usize>> {
        let start = self.first_token(index);
        (index < self.count).then(|| start..self.text.len().min(start + self.room))
    }

    /// Returns the first token of the text that the window at an index holds.
    pub(crate) fn first_token(&self, index: usize) -> usize {
        index.saturating_mul(self.step)
    }
}

impl Iterator for Windows<'_> {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let window = self.get(self.next)?;
        self.next += 1;
        Some(window)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

impl ExactSizeIterator for Windows<'_> {}

impl TokenizedText {
    /// Encodes the text as `[CLS] text [SEP]`, without a cut.
    pub fn encode(&self) -> Encoding {
        Encoding::build((self, 0..self.len()), None)
    }

    /// Encodes a pair as `[CLS] text [SEP] second [SEP]`, without a cut.
    pub fn encode_pair(&self, second: &TokenizedText) -> Encoding {
        Encoding::build((self, 0..self.len()), Some((second, 0..second.len())))
    }

    /// Does what [`TokenizedText::encode`] does, or with a second text [`TokenizedText::encode_pair`], but
    /// cuts the end to at most `max_seq_len` tokens. The flag is true if something was cut. The longer one of
    /// two texts is cut first, as with `truncation=True` in `transformers`.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] if `max_seq_len` leaves no room beside the special tokens.
    pub fn encode_truncated(
        &self,
        second: Option<&TokenizedText>,
        max_seq_len: usize,
    ) -> Result<(Encoding, bool)> {
        let options = WindowOptions::new(max_seq_len);
        let Some(second) = second else {
            let room = options.room(Encoding::SPECIAL_SINGLE)?;
            let kept = self.len().min(room);
            return Ok((Encoding::build((self, 0..kept), None), kept < self.len()));
        };
        let room = options.room(Encoding::SPECIAL_PAIR)?;
        let (a, b) = longest_first(self.len(), second.len(), room);
        let encoding = Encoding::build((self, 0..a), Some((second, 0..b)));
        Ok((encoding, (a, b) != (self.len(), second.len())))
    }

    /// Cuts the whole text into windows `[CLS] part [SEP]`, at least one. They are the same as
    /// `transformers`' fast tokenizer makes with
    /// `truncation=True, stride=doc_stride, return_overflowing_tokens=True`.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] if `max_seq_len` leaves no room for text, or if more than one window is needed
    /// and `doc_stride` is not below that room, so that the next window would not advance.
    pub fn windows(&self, options: &WindowOptions) -> Result<Windows<'_>> {
        TokenSource::Whole(self).windows(options)
    }

    /// Cuts this text into windows `[CLS] question [SEP] part [SEP]`, at least one, each with the whole
    /// question. They are the same as `transformers`' fast tokenizer makes with
    /// `truncation="only_second", stride=doc_stride, return_overflowing_tokens=True`.
    ///
    /// ```
    /// # use mobilebert::{Tokenizer, TokenizerFiles};
    /// use mobilebert::WindowOptions;
    /// # let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwho\n?\na\nb\nc\nd\ne\n";
    /// # let tokenizer = Tokenizer::from_files(&TokenizerFiles::new("doc").vocab("vocab.txt", vocab.as_bytes()))?;
    ///
    /// let context = tokenizer.tokenize("a b c d e")?;
    /// let question = tokenizer.tokenize("who?")?;
    /// let options = WindowOptions::new(8).doc_stride(1); // 8 - "[CLS] who ? [SEP]" - "[SEP]" = room for 3
    /// let windows: Vec<_> = context.windows_with_question(&question, &options)?.collect();
    /// assert_eq!(windows.len(), 2);
    /// assert_eq!((windows[0].tokens(), windows[1].tokens()), (0..3, 2..5));
    /// assert_eq!(windows[1].positions(), 4..7);
    /// assert_eq!(windows[1].span(4), Some(context.spans()[2])); // "c"
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`] if the question has more than `max_question_len` tokens, or leaves no room for
    /// text, or not more than `doc_stride` where more than one window is needed; [`ErrorKind::Option`] if
    /// `max_seq_len` or `doc_stride` is impossible for any question.
    pub fn windows_with_question<'a>(
        &'a self,
        question: &'a TokenizedText,
        options: &WindowOptions,
    ) -> Result<Windows<'a>> {
        TokenSource::Whole(self).windows_with_question(question, options)
    }
}

impl<'a> TokenSource<'a> {
    fn len(self) -> usize {
        match self {
            TokenSource::Whole(text) => text.len(),
            TokenSource::Pieces(pieces) => pieces.len(),
        }
    }

    pub(crate) fn windows(self, options: &WindowOptions) -> Result<Windows<'a>> {
        let room = options.room(Encoding::SPECIAL_SINGLE)?;
        if self.len() > room && options.doc_stride >= room {
            return Err(options.stride_error(room));
        }
        Ok(self.cut(None, room, options.doc_stride))
    }

    pub(crate) fn windows_with_question(
        self,
        question: &'a TokenizedText,
        options: &WindowOptions,
    ) -> Result<Windows<'a>> {
        let too_long =
            |limit, hint| ErrorKind::TooLong { what: "question", found: question.len(), limit, hint };
        let most = options.room(Encoding::SPECIAL_PAIR)?;
        if question.len() > options.max_question_len {
            return Err(
                too_long(options.max_question_len, "ask a shorter one or raise `max_question_len`").into()
            );
        }
        if question.len() >= most {
            return Err(too_long(most - 1, "ask a shorter one or raise `max_seq_len`").into());
        }
        let room = most - question.len();
        if self.len() > room && options.doc_stride >= room {
            if options.doc_stride >= most {
                return Err(options.stride_error(most));
            }
            let limit = most - options.doc_stride - 1;
            let hint =
                "ask a shorter one, raise `max_seq_len` or lower `doc_stride`, or windows do not advance";
            return Err(too_long(limit, hint).into());
        }
        Ok(self.cut(Some(question), room, options.doc_stride))
    }

    fn cut(self, question: Option<&'a TokenizedText>, room: usize, doc_stride: usize) -> Windows<'a> {
        let step = room.saturating_sub(doc_stride).max(1);
        let count = 1 + self.len().saturating_sub(room).div_ceil(step);
        Windows { question, text: self, room, step, next: 0, count }
    }
}

/// Returns the lengths of two texts cut to `room` tokens together, as by the `tokenizers` crate's
/// `LongestFirst`.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let shorter = first.min(second);
    let (short, long) = if shorter + shorter.max(room.saturating_sub(shorter)) > room {
        (room / 2, room - room / 2)
    } else {
        (shorter, room - shorter)
    };
    if first > second { (long, short) } else { (short, long) }
}

#[cfg(test)]
mod tests {
    use super::longest_first;

    #[test]
    fn the_longer_text_is_cut_first() {
        for (first, second, room, expected) in [
            (3, 3, 6, (3, 3)),
            (5, 3, 6, (3, 3)),
            (10, 2, 6, (4, 2)),
            (2, 10, 6, (2, 4)),
            (10, 9, 7, (4, 3)),
            (9, 10, 7, (3, 4)),
            (5, 5, 7, (3, 4)),
            (0, 9, 4, (0, 4)),
            (9, 0, 4, (4, 0)),
        ] {
            assert_eq!(longest_first(first, second, room), expected, "{first} and {second} into {room}");
        }
    }
}
