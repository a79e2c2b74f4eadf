//! What is run to be measured.

use mobilebert::{Batch, Engine, Error, Result};

/// The largest number of tokens in a pass. The memory that a pass needs grows with it.
const MAX_TOKENS: usize = 65_536;

/// Makes `sequences` sequences of `length` different, ordinary tokens. Both numbers are checked before any
/// memory is taken.
///
/// # Errors
/// [`mobilebert::ErrorKind::Option`] for `seq_len` and `batch`.
pub fn batch(engine: &Engine, length: usize, sequences: usize) -> Result<Batch> {
    let limit = engine.config().max_position_embeddings;
    if !(1..=limit).contains(&length) {
        return Err(Error::option("seq_len", format!("1 to {limit}, the model's limit"), length));
    }
    let most = MAX_TOKENS / length;
    if !(1..=most).contains(&sequences) {
        let expected = format!("1 to {most}, at most {MAX_TOKENS} tokens in a pass of sequences of {length}");
        return Err(Error::option("batch", expected, sequences));
    }
    // Words of the usual vocabularies begin behind 1,000 reserved and single-character entries. Tiny models for
    // tests have fewer.
    const FIRST_WORD: u32 = 1996;
    let vocabulary = u32::try_from(engine.config().vocab_size).unwrap_or(u32::MAX).max(1);
    let mut batch = Batch::new();
    for s in 0..sequences as u32 {
        let id = |i: u32| (FIRST_WORD + (i * 37 + s * 101) % 20_000) % vocabulary;
        let ids: Vec<u32> = (0..length as u32).map(id).collect();
        batch.push(&ids, &vec![0; length])?;
    }
    Ok(batch)
}
