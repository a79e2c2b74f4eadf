//! Finds the members of a zip archive. They are used where they lie, and none is unpacked.

use std::collections::BTreeMap;
use std::ops::Range;

use super::checkpoint::format_error;
use super::reader::Reader;
use crate::error::Result;

const LOCAL_HEADER: u32 = u32::from_le_bytes(*b"PK\x03\x04");
const CENTRAL_HEADER: u32 = u32::from_le_bytes(*b"PK\x01\x02");
const END: [u8; 4] = *b"PK\x05\x06";
const END_LENGTH: usize = 22;
const END64: u32 = u32::from_le_bytes(*b"PK\x06\x06");
const END64_LOCATOR: u32 = u32::from_le_bytes(*b"PK\x06\x07");
const END64_LOCATOR_LENGTH: usize = 20;
/// A value that stands for one that is in the zip64 extra field.
const IN_ZIP64: u32 = u32::MAX;

/// A member of an archive.
#[derive(Debug)]
pub struct Member {
    bytes: Range<usize>,
    method: u16,
    flags: u16,
    /// The offset of the member's entry in the central directory.
    pub offset: usize,
}

impl Member {
    /// Returns the range of the file's bytes that holds the member, or the name of the method that packed it.
    pub fn stored(&self) -> Result<Range<usize>, String> {
        match is_stored(self.method, self.flags) {
            true => Ok(self.bytes.clone()),
            false => Err(format!("compression method {}, flags {:#x}", self.method, self.flags)),
        }
    }
}

fn is_stored(method: u16, flags: u16) -> bool {
    const ENCRYPTED: u16 = 1;
    method == 0 && flags & ENCRYPTED == 0
}

/// Returns true if a file begins as a zip archive does.
pub fn is_archive(file: &[u8]) -> bool {
    file.starts_with(&LOCAL_HEADER.to_le_bytes())
}

/// Returns the members of a file that is an archive.
pub fn members<'a>(label: &'a str, file: &'a [u8]) -> Result<BTreeMap<&'a str, Member>> {
    let Some(end) = end_record(file) else {
        let expected = "the central directory at the end of a zip archive";
        return Err(format_error(label, file.len(), expected, "none; the file may be cut short"));
    };
    read(label, file, end, false)
}

/// Returns the members of an archive that was appended to another file, if there is one. Its offsets count
/// from the beginning of the file or, if the archive was written separately, from its own beginning.
pub fn appended<'a>(label: &'a str, file: &'a [u8]) -> Result<Option<BTreeMap<&'a str, Member>>> {
    end_record(file).map(|end| read(label, file, end, true)).transpose()
}

fn read<'a>(
    label: &'a str,
    file: &'a [u8],
    end: usize,
    is_appended: bool,
) -> Result<BTreeMap<&'a str, Member>> {
    let directory = directory(label, file, end, is_appended)?;
    let mut reader = directory.reader;
    let mut members = BTreeMap::new();
    while !reader.at_end() {
        let (name, member) = member(&mut reader, label, file, directory.shift)?;
        if members.insert(name, member).is_some() {
            return Err(reader.error("each member once", format!("{name:?} twice")));
        }
    }
    Ok(members)
}

/// Returns the position of the end record. It is the last record of the file, and only a comment of at most
/// 64 KiB may follow it.
fn end_record(file: &[u8]) -> Option<usize> {
    let tail = file.len().saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let ends_the_file = |end: &usize| {
        let comment = file.get(end + END_LENGTH - 2..end + END_LENGTH).and_then(<[u8]>::first_chunk);
        comment.is_some_and(|&n| end + END_LENGTH + usize::from(u16::from_le_bytes(n)) == file.len())
    };
    let mut ends = file[tail..].windows(END.len()).enumerate().rev().filter(|(_, w)| *w == END);
    ends.find_map(|(i, _)| Some(tail + i).filter(ends_the_file))
}

/// The central directory.
struct Directory<'a> {
    reader: Reader<'a>,
    /// The number of bytes to add to the offsets in the directory.
    shift: usize,
}

fn directory<'a>(label: &'a str, file: &'a [u8], end: usize, is_appended: bool) -> Result<Directory<'a>> {
    const BEFORE_SIZE: usize = 12;
    let mut reader = Reader::new(label, file, end + BEFORE_SIZE, file.len());
    let mut size = reader.u32("the size of the central directory")? as usize;
    let mut offset = reader.u32("the offset of the central directory")? as usize;
    let mut behind = end;
    if let Some(start) = end.checked_sub(END64_LOCATOR_LENGTH) {
        let mut locator = Reader::new(label, file, start, end);
        if locator.u32("a zip64 locator")? == END64_LOCATOR {
            locator.u32("a disk number")?;
            let at = locator.size("the offset of the zip64 end record")?;
            let mut end64 = Reader::new(label, file, at, start);
            if end64.u32("the zip64 end record")? != END64 {
                return Err(locator.error("the offset of the zip64 end record", at.to_string()));
            }
            const BEFORE_SIZE64: usize = 36;
            end64.take(BEFORE_SIZE64, "the zip64 end record")?;
            size = end64.size("the size of the central directory")?;
            offset = end64.size("the offset of the central directory")?;
            behind = at;
        }
    }
    let claimed = offset.checked_add(size);
    let shift = match claimed {
        Some(claimed) if is_appended => behind.checked_sub(claimed),
        _ => Some(0),
    };
    match (claimed, shift) {
        (Some(claimed), Some(shift)) if claimed + shift <= end => {
            let reader = Reader::new(label, file, offset + shift, claimed + shift);
            Ok(Directory { reader, shift })
        }
        _ => Err(format_error(
            label,
            end,
            "a central directory before its end record",
            format!("{size} bytes at byte {offset}"),
        )),
    }
}

/// Reads the next member of the central directory.
fn member<'a>(
    directory: &mut Reader<'a>,
    label: &'a str,
    file: &'a [u8],
    shift: usize,
) -> Result<(&'a str, Member)> {
    const HEADER: &str = "a member of the central directory";
    let at = *directory;
    if directory.u32(HEADER)? != CENTRAL_HEADER {
        return Err(at.error(HEADER, "another signature"));
    }
    directory.take(4, HEADER)?;
    let flags = directory.u16(HEADER)?;
    let method = directory.u16(HEADER)?;
    directory.take(8, HEADER)?;
    let stored_size = directory.u32(HEADER)?;
    let full_size = directory.u32(HEADER)?;
    let name_length = directory.u16(HEADER)?;
    let extra_length = directory.u16(HEADER)?;
    let comment_length = directory.u16(HEADER)?;
    directory.take(8, HEADER)?;
    let local = directory.u32(HEADER)?;
    let name = directory.take(name_length.into(), "the name of a member")?;
    let Ok(name) = str::from_utf8(name) else {
        return Err(at.error("a member name in UTF-8", "other bytes"));
    };
    let extra = directory.position();
    directory.take(extra_length.into(), "the extra field of a member")?;
    directory.take(comment_length.into(), "the comment of a member")?;

    let mut zip64 = zip64_field(Reader::new(label, file, extra, extra + usize::from(extra_length)))?;
    let mut widen = |value: u32| match (&mut zip64, value) {
        (Some(field), IN_ZIP64) => field.size("a zip64 size or offset"),
        _ => Ok(value as usize),
    };
    let full_size = widen(full_size)?;
    let stored_size = widen(stored_size)?;
    let local = widen(local)?.saturating_add(shift);
    if is_stored(method, flags) && full_size != stored_size {
        return Err(at.error("a stored member of one size", format!("{full_size} and {stored_size}")));
    }

    const LOCAL: &str = "the local header of a member";
    let mut header = Reader::new(label, file, local, file.len());
    if header.u32(LOCAL)? != LOCAL_HEADER {
        return Err(at.error(LOCAL, format!("another signature at byte {local}")));
    }
    header.take(22, LOCAL)?;
    let skip = usize::from(header.u16(LOCAL)?) + usize::from(header.u16(LOCAL)?);
    header.take(skip, LOCAL)?;
    let start = header.position();
    header.take(stored_size, &format!("{stored_size} bytes of member {name:?}"))?;
    let bytes = start..start + stored_size;
    Ok((name, Member { bytes, method, flags, offset: at.position() }))
}

/// Returns the zip64 field among the extra fields of a member.
fn zip64_field(mut extra: Reader<'_>) -> Result<Option<Reader<'_>>> {
    const ZIP64: u16 = 1;
    while !extra.at_end() {
        let id = extra.u16("the id of an extra field")?;
        let length = extra.u16("the length of an extra field")?;
        let field = extra.sub(length.into(), "an extra field")?;
        if id == ZIP64 {
            return Ok(Some(field));
        }
    }
    Ok(None)
}
