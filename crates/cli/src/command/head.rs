//! Cuts texts that are far longer than the part that a model reads.

use mobilebert::{Result, Tokenizer};

/// Texts of up to this many bytes are passed to the pipeline as they are.
const SHORT: usize = 1 << 16;

/// The number of tokens kept beyond the limit. It leaves room for a special token that contains a blank and
/// lies where the text is cut.
const MARGIN: usize = 64;

/// Returns a beginning of `text` that has more than `limit` tokens, or the whole text. A pipeline that reads
/// `limit` tokens and leaves out the rest gives the same result for both, and reports both as truncated.
///
/// The beginning ends at a blank, because words end there in every tokenizer that the library knows.
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
