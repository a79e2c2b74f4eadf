//! Reads the zip form: `NAME/data.pkl` describes the tensors, and `NAME/data/KEY` holds the raw bytes of a
//! storage. PyTorch stores all members uncompressed, so the tensors are used where they lie in the file.

use std::collections::HashMap;
use std::ops::Range;

use super::super::checkpoint::format_error;
use super::super::reader::Reader;
use super::super::zip;
use super::machine::Machine;
use super::{Found, Loaded};
use crate::error::Result;

pub(super) fn read(label: &str, file: &[u8]) -> Result<Vec<Found>> {
    let mut members: HashMap<&str, Range<usize>> = HashMap::new();
    for (name, member) in zip::members(label, file)? {
        let is_stored = |found: String| {
            let expected = "members that are stored, as PyTorch does";
            format_error(label, member.offset, expected, format!("{name:?} with {found}"))
        };
        members.insert(name, member.stored().map_err(is_stored)?);
    }
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
