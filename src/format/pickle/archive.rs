//! The zip form: `NAME/data.pkl` describes the tensors, `NAME/data/KEY` holds the raw bytes of a storage. PyTorch stores
//! all members uncompressed, so the tensors are used where they lie in the file.

use std::collections::HashMap;
use std::ops::Range;

use super::super::checkpoint::{Entry, format_error};
use super::Loaded;
use super::machine::Machine;
use super::reader::Reader;
use crate::error::Result;

const LOCAL_HEADER: u32 = u32::from_le_bytes(*b"PK\x03\x04");
const CENTRAL_HEADER: u32 = u32::from_le_bytes(*b"PK\x01\x02");
const END: [u8; 4] = *b"PK\x05\x06";
const END_LENGTH: usize = 22;
const END64: u32 = u32::from_le_bytes(*b"PK\x06\x06");
const END64_LOCATOR: u32 = u32::from_le_bytes(*b"PK\x06\x07");
const END64_LOCATOR_LENGTH: usize = 20;
/// Stands for a value in the zip64 extra field.
const IN_ZIP64: u32 = u32::MAX;

pub(super) fn is_archive(file: &[u8]) -> bool {
    file.starts_with(&LOCAL_HEADER.to_le_bytes())
}

pub(super) fn read(label: &str, file: &[u8]) -> Result<Vec<(String, Entry)>> {
    let members = members(label, file)?;
    const DESCRIPTION: &str = "/data.pkl";
    let Some((name, description)) =
        members.iter().find(|(name, _)| name.strip_suffix(DESCRIPTION).is_some_and(|n| !n.contains('/')))
    else {
        let found = format!("{} members without it", members.len());
        return Err(format_error(label, 0, "a PyTorch archive with the member NAME/data.pkl", found));
    };
    let root = &name[..name.len() - DESCRIPTION.len()];
    let member = |name: &str| members.get(format!("{root}/{name}").as_str());
    if let Some(range) = member("byteorder")
        && &file[range.clone()] != b"little"
    {
        let found = String::from_utf8_lossy(&file[range.start..range.end.min(range.start + 16)]);
        return Err(format_error(label, range.start, "byte order \"little\"", format!("{found:?}")));
    }
    let data = format!("{root}/data/");
    let storages: HashMap<_, _> =
        members.iter().filter_map(|(name, range)| Some((name.strip_prefix(&data)?, range.clone()))).collect();
    let reader = Reader::new(label, file, description.start, description.end);
    let (machine, value, _) = Machine::run(reader)?;
    Loaded { machine, root: value, offset: description.start, storages }.entries(label)
}

/// Names and positions of all members.
fn members<'a>(label: &'a str, file: &'a [u8]) -> Result<HashMap<&'a str, Range<usize>>> {
    let mut reader = directory(label, file)?;
    let mut members = HashMap::new();
    while let Some((name, range)) = member(&mut reader, label, file)? {
        if members.insert(name, range).is_some() {
            return Err(reader.error("each member once", format!("{name:?} twice")));
        }
    }
    Ok(members)
}

/// A reader on the central directory.
fn directory<'a>(label: &'a str, file: &'a [u8]) -> Result<Reader<'a>> {
    // The end record is the last thing in the file, before a comment of at most 64 KiB.
    let tail = file.len().saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let ends_the_file = |end: &usize| {
        let comment = file.get(end + END_LENGTH - 2..end + END_LENGTH).and_then(<[u8]>::first_chunk);
        comment.is_some_and(|&n| end + END_LENGTH + usize::from(u16::from_le_bytes(n)) == file.len())
    };
    let mut ends = file[tail..].windows(END.len()).enumerate().rev().filter(|(_, w)| *w == END);
    let Some(end) = ends.find_map(|(i, _)| Some(tail + i).filter(ends_the_file)) else {
        let expected = "the central directory at the end of a zip archive";
        return Err(format_error(label, file.len(), expected, "none; the file may be cut short"));
    };
    const BEFORE_SIZE: usize = 12;
    let mut reader = Reader::new(label, file, end + BEFORE_SIZE, file.len());
    let mut size = reader.u32("the size of the central directory")? as usize;
    let mut offset = reader.u32("the offset of the central directory")? as usize;
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
        }
    }
    match offset.checked_add(size) {
        Some(directory_end) if directory_end <= end => Ok(Reader::new(label, file, offset, directory_end)),
        _ => Err(format_error(
            label,
            end,
            "a central directory before its end record",
            format!("{size} bytes at byte {offset}"),
        )),
    }
}

/// The next member of the central directory, unless it is at its end.
fn member<'a>(
    directory: &mut Reader<'a>,
    label: &'a str,
    file: &'a [u8],
) -> Result<Option<(&'a str, Range<usize>)>> {
    const HEADER: &str = "a member of the central directory";
    if directory.at_end() {
        return Ok(None);
    }
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
    const ENCRYPTED: u16 = 1;
    if method != 0 || flags & ENCRYPTED != 0 {
        let found = format!("{name:?} with compression method {method}, flags {flags:#x}");
        return Err(at.error("members that are stored, as PyTorch does", found));
    }

    let mut zip64 = zip64_field(Reader::new(label, file, extra, extra + usize::from(extra_length)))?;
    let mut widen = |value: u32| match (&mut zip64, value) {
        (Some(field), IN_ZIP64) => field.size("a zip64 size or offset"),
        _ => Ok(value as usize),
    };
    let full_size = widen(full_size)?;
    let stored_size = widen(stored_size)?;
    let local = widen(local)?;
    if full_size != stored_size {
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
    Ok(Some((name, start..start + stored_size)))
}

/// The zip64 field among the extra fields of a member.
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
