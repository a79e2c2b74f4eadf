//! A reader of sorted string tables, LevelDB's immutable files. They consist of blocks of keys with shared
//! prefixes, an index block and a footer.

use super::crc32c;
use super::protobuf::Message;
use mobilebert::Result;
use mobilebert::format::format_error;

/// The last eight bytes of a table.
pub(super) const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57u64.to_le_bytes();

/// The length of the footer: two block handles padded to 40 bytes, and the magic.
const FOOTER: usize = 48;

/// The number of bytes behind each block: one for its compression, and the checksum of both.
const TRAILER: usize = 5;

/// The longest key. Keys are variable names.
const MAX_KEY: usize = 4096;

/// Calls `entry` with each key and value, in the order of the file.
pub(super) fn read<'a>(
    label: &'a str,
    file: &'a [u8],
    mut entry: impl FnMut(&[u8], Message<'a>) -> Result<()>,
) -> Result<()> {
    let footer = file.len().checked_sub(FOOTER).filter(|_| file.ends_with(&MAGIC));
    let Some(footer) = footer else {
        let expected = "a TensorFlow checkpoint index, which ends in a footer of 48 bytes";
        return Err(format_error(label, file.len().saturating_sub(MAGIC.len()), expected, "another ending"));
    };
    let mut handles = Message::new(label, &file[footer..file.len() - MAGIC.len()], footer);
    // TensorFlow puts nothing into this block, which has a checksum like the others.
    let meta = handle(&mut handles)?;
    block(label, file, meta)?;
    let index = handle(&mut handles)?;
    let mut blocks = 0;
    entries(block(label, file, index)?, |_, mut value| {
        // Each entry of the index takes at least five bytes, and no block may be read twice, so that the work
        // is bounded by the file's length.
        let (start, length) = handle(&mut value)?;
        if start < blocks {
            let expected = format!("a block at byte {blocks} or behind it");
            return Err(format_error(label, value.start, &expected, format!("one at byte {start}")));
        }
        blocks = start.saturating_add(length);
        entries(block(label, file, (start, length))?, &mut entry)
    })
}

/// Reads the offset and length of a block.
fn handle(bytes: &mut Message<'_>) -> Result<(u64, u64)> {
    Ok((bytes.varint()?, bytes.varint()?))
}

fn block<'a>(label: &'a str, file: &'a [u8], (start, length): (u64, u64)) -> Result<Message<'a>> {
    let range = || {
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        Some((start, end, file.get(start..end.checked_add(TRAILER)?)?))
    };
    let Some((start, end, with_trailer)) = range() else {
        let expected = format!("a block inside the {} bytes of the file", file.len());
        return Err(format_error(
            label,
            file.len() - FOOTER,
            &expected,
            format!("{length} bytes at {start}"),
        ));
    };
    let Some((checked, sum)) = with_trailer.split_last_chunk::<4>() else {
        return Err(format_error(label, start, "a block and its checksum", "less"));
    };
    if !crc32c::verify(checked, u32::from_le_bytes(*sum)) {
        return Err(format_error(label, start, "a block that has its checksum", "another checksum"));
    }
    match checked.last() {
        Some(0) => Ok(Message::new(label, &file[start..end], start)),
        _ => Err(format_error(
            label,
            end,
            "an uncompressed block, as every TensorFlow from 1.2 on writes; save the checkpoint again with one",
            "a compressed one",
        )),
    }
}

/// Calls a function with each entry of a block, which holds entries, then the offsets of its restart points
/// and their number, 4 bytes each.
fn entries<'a>(
    mut block: Message<'a>,
    mut entry: impl FnMut(&[u8], Message<'a>) -> Result<()>,
) -> Result<()> {
    let count = block.bytes.last_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let length = count.and_then(|n| block.bytes.len().checked_sub(n.checked_add(1)?.checked_mul(4)?));
    let Some(length) = length else {
        return Err(format_error(
            block.label,
            block.start,
            "a block with its restart points",
            "a shorter one",
        ));
    };
    block.bytes = &block.bytes[..length];
    let mut key = Vec::new();
    while !block.bytes.is_empty() {
        let at = block.start;
        let (shared, rest, value) = (block.varint()?, block.varint()?, block.varint()?);
        let shared = usize::try_from(shared).ok().filter(|&shared| shared <= key.len());
        let Some(shared) = shared else {
            let expected = format!("at most {} bytes shared with the key before", key.len());
            return Err(format_error(block.label, at, &expected, "more"));
        };
        key.truncate(shared);
        let rest = block.take(rest)?;
        if key.len() + rest.bytes.len() > MAX_KEY {
            return Err(format_error(block.label, at, &format!("a key of at most {MAX_KEY} bytes"), "more"));
        }
        key.extend_from_slice(rest.bytes);
        entry(&key, block.take(value)?)?;
    }
    Ok(())
}
