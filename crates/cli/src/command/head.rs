//! The beginning of a text that is far longer than what a model reads of it.

use mobilebert::{Result, Tokenizer};

/// Texts up to this many bytes are given to the pipeline as they are.
const SHORT: usize = 1 << 16;

/// Tokens kept beyond the limit, so that a special token with a blank in it may lie where the text is cut.
const MARGIN: usize = 64;

/// A beginning of `text` that has more than `limit` tokens, or the whole text. A pipeline that reads `limit`
/// tokens and leaves out the rest gives the same result for both, and says for both that the text was
/// truncated.
///
/// The beginning ends at a blank, where words end in every tokenizer that the library knows.
pub(super) fn head<'t>(tokenizer: &Tokenizer, text: &'t str, limit: usize) -> Result<&'t str> {
    let mut size = SHORT;
    while size < text.len() {
        let blank = text.as_bytes()[..size].iter().rposition(u8::is_ascii_whitespace);
        if let Some(beginning) = blank.map(|end| &text[..end])
            && tokenizer.tokenize(beginning)?.len() > limit.saturating_add(MARGIN)
        {
            return Ok(beginning);
        }
        size = size.saturating_mul(4);
    }
    Ok(text)
}
