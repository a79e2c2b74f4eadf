//! Reads the stream form, which was PyTorch's default up to 1.5. It holds five pickles (magic number,
//! protocol, system information, description, storage keys), and then each storage as an element count and
//! raw elements.

use std::collections::HashMap;

use super::super::checkpoint::format_error;
use super::super::reader::Reader;
use super::machine::Machine;
use super::value::Value;
use super::{Found, Loaded};
use crate::error::Result;

/// The magic number 0x1950a86a20f9469cfc6c, in little-endian order.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

pub(super) fn read(label: &str, file: &[u8]) -> Result<Vec<Found>> {
    let pickle = |start| Machine::run(Reader::new(label, file, start, file.len()));
    // The pickle of the magic number is PROTO 2 and LONG1 of ten bytes. Without this check, other files would
    // fail with an error that tells less.
    if !file.starts_with(&[0x80, 2, 0x8a, MAGIC.len() as u8]) || file.get(4..14) != Some(&MAGIC[..]) {
        let expected = "a PyTorch file: a zip archive, or a legacy stream with its magic number";
        return Err(format_error(label, 0, expected, format!("{:02x?}", &file[..file.len().min(14)])));
    }
    let (_, _, position) = pickle(0)?;
    let (_, protocol, end) = pickle(position)?;
    if !matches!(protocol, Value::Int(PROTOCOL)) {
        let found = format!("{protocol:?}");
        return Err(format_error(label, position, &format!("protocol {PROTOCOL}"), found));
    }
    let (system, information, offset) = pickle(end)?;
    if let Value::Dict(id) = information
        && system
            .dict(id)
            .iter()
            .any(|pair| matches!(pair, (Value::Text("little_endian"), Value::Bool(false))))
    {
        return Err(format_error(label, end, "a file written on a little-endian machine", "big-endian"));
    }
    let (machine, root, keys_at) = pickle(offset)?;
    let (keys, key_list, storages_at) = pickle(keys_at)?;

    let mut element_size = HashMap::new();
    for storage in machine.storages() {
        element_size.entry(storage.key).or_insert(storage.dtype.size);
    }
    let mut storages = HashMap::new();
    let mut reader = Reader::new(label, file, storages_at, file.len());
    for key in keys.sequence(key_list).unwrap_or_default() {
        let Value::Text(key) = *key else {
            return Err(format_error(label, keys_at, "storage keys as strings", key.kind()));
        };
        let Some(size) = element_size.get(key) else {
            let found = format!("key {key:?}");
            return Err(format_error(label, keys_at, "only keys of storages that the tensors use", found));
        };
        let at = reader;
        let elements = reader.size("the element count of a storage")?;
        let length = elements.checked_mul(*size).ok_or_else(|| {
            at.error("the element count of a storage", format!("{elements} elements of {size} bytes"))
        })?;
        let start = reader.position();
        reader.take(length, &format!("storage {key:?} of {length} bytes"))?;
        storages.insert(key, start..start + length);
    }
    Loaded { machine, root, offset, storages }.entries(label)
}
