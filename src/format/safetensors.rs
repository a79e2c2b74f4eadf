//! Reads the header of a safetensors file. The file has an 8-byte length, a JSON object that maps names to
//! types, shapes and byte ranges, and then the tensors without gaps.
//!
//! The `safetensors` crate reads the same format. This reader accepts no file that the crate refuses (the
//! fuzz target `safetensors` compares them). It also refuses names that occur twice, and its errors name the
//! wrong tensor and its position.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use ::safetensors::Dtype;
use ::safetensors::tensor::TensorInfo;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::checkpoint::{ElementType, Entry, format_error};
use crate::error::Result;

/// The number of bytes of the header's length.
const LENGTH: usize = 8;

/// The limit that the format sets for the length of the header.
const MAX_HEADER: usize = 100_000_000;

/// Returns the names and descriptions of all tensors, in the order in which they lie in the file.
pub(super) fn read(label: &str, file: &[u8]) -> Result<Vec<(String, Entry)>> {
    let invalid =
        |offset: usize, expected: &str, found: String| Err(format_error(label, offset, expected, found));
    let Some((length, rest)) = file.split_first_chunk::<LENGTH>() else {
        return invalid(
            0,
            "a safetensors file, 8 bytes of header length first",
            format!("{} bytes", file.len()),
        );
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|n| *n <= MAX_HEADER).and_then(|n| rest.get(..n));
    let Some(header) = header else {
        let most = MAX_HEADER.min(rest.len());
        let expected = format!("the length of a header, at most {most} bytes in this file");
        return invalid(0, &expected, format!("{length}; the file may be cut off, or no safetensors"));
    };
    if !header.starts_with(b"{") {
        let found = String::from_utf8_lossy(&header[..header.len().min(16)]).into_owned();
        return invalid(LENGTH, "a JSON object as header", format!("{found:?}"));
    }
    let Header(mut tensors) = match serde_json::from_slice(header) {
        Ok(header) => header,
        Err(e) => {
            let lines = header.split_inclusive(|&b| b == b'\n').take(e.line().saturating_sub(1));
            let offset = LENGTH + lines.map(<[u8]>::len).sum::<usize>() + e.column();
            return invalid(
                offset,
                "a header from tensor names to dtype, shape and data_offsets",
                e.to_string(),
            );
        }
    };
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    let data = LENGTH + header.len();
    let mut position = 0;
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        if start != position || end < start {
            let expected =
                format!("tensor `{name}` at data_offsets [{position}, ..], without gap or overlap");
            return invalid(data.saturating_add(start), &expected, format!("[{start}, {end}]"));
        }
        let elements = info.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let bits = elements.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        if bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8) != Some(end - start) {
            let expected = format!("the bytes of tensor `{name}`, {:?} {:?}", info.dtype, info.shape);
            return invalid(data + start, &expected, format!("{} bytes", end - start));
        }
        if end > file.len() - data {
            let expected = format!("tensor `{name}`, {} bytes", end - start);
            let left = file.len() - data - start.min(file.len() - data);
            return invalid(data + start, &expected, format!("only {left} bytes before the file ends"));
        }
        position = end;
        entries.push((name, entry(info, data)));
    }
    if position != file.len() - data {
        let found = format!("{} bytes that belong to no tensor", file.len() - data - position);
        return invalid(data + position, "the end of the file", found);
    }
    Ok(entries)
}

fn entry(info: TensorInfo, data: usize) -> Entry {
    let (start, end) = info.data_offsets;
    let bytes = data + start..data + end;
    let dtype = match info.dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::F64 => ElementType::F64,
        Dtype::I8 => ElementType::I8,
        Dtype::U8 => ElementType::U8,
        Dtype::I64 => ElementType::I64,
        other => return Entry::unreadable(info.shape, format!("{other:?}"), bytes),
    };
    Entry::new(info.shape, dtype, bytes)
}

/// The JSON header. Its `__metadata__` is checked and dropped.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut names = BTreeSet::new();
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("`{name}` a second time")));
            }
            if name == "__metadata__" {
                map.next_value::<Option<HashMap<String, String>>>()?;
            } else {
                tensors.push((name, map.next_value()?));
            }
        }
        Ok(Header(tensors))
    }
}
