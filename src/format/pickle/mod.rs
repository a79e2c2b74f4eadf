//! Reads PyTorch's `torch.save` files without running any code from them.
//!
//! Both forms hold a pickled description of the tensors and their raw bytes. The zip form of PyTorch 1.6 and
//! later has them in stored members ([`archive`]), and the legacy form has them one after the other in a
//! single stream ([`legacy`]). The description is interpreted by a [`machine`] that knows only what state
//! dicts are made of. The raw bytes stay where they are, because entries point into the file.

mod archive;
mod legacy;
mod machine;
mod objects;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use self::machine::Machine;
use self::objects::StoredTensor;
use self::value::Value;
use super::checkpoint::{ElementType, Entry, format_error};
use super::mmap::Bytes;
use crate::error::Result;

/// The longest name of a tensor. It is far above the longest module path, and it keeps the copies of the
/// names from outgrowing the file.
const MAX_NAME: usize = 512;

/// The contents of a `torch.save` file.
#[derive(Debug)]
pub(super) struct Contents {
    /// The file.
    pub(super) bytes: Bytes,
    /// The tensors of the file, and where they lie in it.
    pub(super) entries: Vec<(String, Entry)>,
    /// The elements of tensors that do not lie row by row in the file, such as transposed ones, brought into
    /// that order.
    pub(super) gathered: Vec<u8>,
    /// The tensors whose elements are in `gathered`, and where they lie there.
    pub(super) gathered_entries: Vec<(String, Entry)>,
}

/// Reads the tensors of a `torch.save` file.
pub(super) fn read(label: &str, bytes: Bytes) -> Result<Contents> {
    let found = if super::zip::is_archive(&bytes) {
        archive::read(label, &bytes)?
    } else {
        legacy::read(label, &bytes)?
    };
    let (mut entries, mut gathered, mut gathered_entries) = (Vec::new(), Vec::new(), Vec::new());
    for Found { name, entry, strides } in found {
        let Some((element, strides)) = strides else {
            entries.push((name, entry));
            continue;
        };
        let (start, length) = (gathered.len(), entry.shape.iter().product::<usize>() * element.size());
        // Tensors may overlap, so together they could be much larger than the file.
        if start + length > bytes.len() {
            return Err(format_error(
                label,
                0,
                "strided tensors no larger than the file",
                format!("`{name}`"),
            ));
        }
        gather(&bytes[entry.byte_range()], element.size(), &entry.shape, &strides, &mut gathered);
        gathered_entries.push((name, Entry::new(entry.shape, element, start..gathered.len())));
    }
    Ok(Contents { bytes, entries, gathered, gathered_entries })
}

/// Appends the elements of a strided tensor row by row. `bytes` begins at its first element and reaches its
/// last.
fn gather(bytes: &[u8], size: usize, shape: &[usize], strides: &[usize], to: &mut Vec<u8>) {
    match (shape, strides) {
        ([length, shape @ ..], [stride, strides @ ..]) => {
            (0..*length).for_each(|i| gather(&bytes[i * stride * size..], size, shape, strides, to));
        }
        _ => to.extend_from_slice(&bytes[..size]),
    }
}

/// A tensor that a description names. The `strides`, with the number type, are present if its elements do not
/// lie row by row.
struct Found {
    name: String,
    entry: Entry,
    strides: Option<(ElementType, Vec<usize>)>,
}

/// The data that each form of the file provides: the machine after it ran over the description, the result of
/// the machine, and the positions of the description and of the storages.
struct Loaded<'a> {
    machine: Machine<'a>,
    root: Value<'a>,
    offset: usize,
    storages: HashMap<&'a str, Range<usize>>,
}

impl Loaded<'_> {
    fn entries(&self, label: &str) -> Result<Vec<Found>> {
        self.state_dict(label)?.into_iter().map(|(name, tensor)| self.entry(label, name, tensor)).collect()
    }

    /// Returns the names and tensors of the dict that holds them. Wrappers that training scripts put around
    /// the dict are opened.
    fn state_dict(&self, label: &str) -> Result<BTreeMap<&str, &StoredTensor<'_>>> {
        const WRAPPERS: [&str; 2] = ["state_dict", "model"];
        // A dict can contain itself.
        const MAX_WRAPPERS: usize = 4;
        let invalid = |expected: &str, found: String| format_error(label, self.offset, expected, found);
        let mut root = self.root;
        for _ in 0..=MAX_WRAPPERS {
            let Value::Dict(id) = root else { break };
            let pairs = self.machine.dict(id);
            let wrapped = pairs.iter().rev().find_map(|pair| match *pair {
                (Value::Text(key), inner @ Value::Dict(_)) if WRAPPERS.contains(&key) => Some(inner),
                _ => None,
            });
            if let Some(inner) = wrapped {
                root = inner;
                continue;
            }
            let mut tensors = BTreeMap::new();
            for (key, value) in pairs {
                let Value::Text(name) = *key else {
                    return Err(invalid(
                        "a state dict, with names as keys",
                        format!("{} as a key", key.kind()),
                    ));
                };
                if name.len() > MAX_NAME {
                    return Err(invalid(
                        &format!("tensor names of at most {MAX_NAME} bytes"),
                        format!("{} bytes", name.len()),
                    ));
                }
                let Value::Tensor(id) = *value else {
                    let found = format!("{} under {name:?}", value.kind());
                    return Err(invalid("a state dict, with tensors as values", found));
                };
                tensors.insert(name, self.machine.tensor(id));
            }
            return Ok(tensors);
        }
        Err(invalid("a state dict, or one below `state_dict` or `model`", root.kind().to_owned()))
    }

    fn entry(&self, label: &str, name: &str, tensor: &StoredTensor<'_>) -> Result<Found> {
        let key = tensor.storage.key;
        let Some(storage) = self.storages.get(key) else {
            let found = format!("no storage {key:?} in the file, which `{name}` lies in");
            return Err(format_error(label, self.offset, "the storage of every tensor", found));
        };
        let outside = || {
            let found =
                format!("`{name}` of shape {:?} at element {} beyond it", tensor.shape, tensor.offset);
            format_error(label, storage.start, &format!("a storage of {} bytes", storage.len()), found)
        };
        // If a storage is shared by tensors of another number type, its length is given in bytes. So the type
        // of the storage itself is used here.
        let declared = tensor.storage.elements.checked_mul(tensor.storage.dtype.size).ok_or_else(outside)?;
        if declared > storage.len() {
            let found = format!("{declared} bytes declared for storage {key:?} of `{name}`");
            return Err(format_error(
                label,
                storage.start,
                &format!("at most {} bytes", storage.len()),
                found,
            ));
        }
        let size = tensor.dtype.size;
        let start = tensor.offset.checked_mul(size).ok_or_else(outside)?;
        let length =
            tensor.span().and_then(|n| n.checked_mul(size)).filter(|n| *n <= declared).ok_or_else(outside)?;
        let end = start.checked_add(length).filter(|end| *end <= declared).ok_or_else(outside)?;
        let bytes = storage.start + start..storage.start + end;
        let shape = tensor.shape.clone();
        let elements =
            shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).and_then(|n| n.checked_mul(size));
        let (entry, strides) = match tensor.dtype.element {
            // Elements that several positions of the tensor share would be copied once for each position.
            Some(_) if !tensor.is_contiguous() && elements.is_none_or(|elements| elements > length) => {
                let dtype = format!("{} with strides {:?}", tensor.dtype.name, tensor.strides);
                (
                    Entry::unreadable(shape, format!("{dtype} (call `.contiguous()` before saving)"), bytes),
                    None,
                )
            }
            Some(element) => {
                let strides = (!tensor.is_contiguous()).then(|| (element, tensor.strides.clone()));
                (Entry::new(shape, element, bytes), strides)
            }
            None => (Entry::unreadable(shape, tensor.dtype.name.to_owned(), bytes), None),
        };
        Ok(Found { name: name.to_owned(), entry, strides })
    }
}

#[cfg(test)]
mod tests;
