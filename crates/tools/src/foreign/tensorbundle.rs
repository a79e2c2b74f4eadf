//! A reader of TensorFlow's checkpoints: `PREFIX.index` is a table from variable names to descriptions, and
//! `PREFIX.data-00000-of-0000N` holds the variables' bytes (tensorflow/core/protobuf/tensor_bundle.proto).

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::crc32c;
use super::protobuf::{Message, Value};
use super::sstable;
use mobilebert::format::{Bytes, Checkpoint};
use mobilebert::format::{ElementType, Entry, format_error};
use mobilebert::{ErrorKind, Result};

const INDEX: &str = ".index";

/// The number of the type of texts.
const STRING: u64 = 7;

/// A number of files that no checkpoint exceeds.
const MAX_SHARDS: u64 = 4096;

/// The first entry of an index, whose key is empty.
#[derive(Default)]
struct Header {
    shards: u64,
    big_endian: bool,
}

/// The description of a variable.
#[derive(Default)]
struct Variable {
    dtype: u64,
    shape: Vec<usize>,
    shard: u64,
    offset: u64,
    size: u64,
    sum: u32,
    sliced: bool,
}

/// Returns true if a file is the index of a checkpoint.
pub(crate) fn is_index(file: &[u8]) -> bool {
    file.ends_with(&sstable::MAGIC)
}

/// Opens a TensorFlow checkpoint by its index file. Tensors keep TensorFlow's names and shapes.
///
/// # Errors
/// Returns [`ErrorKind::Format`] with the byte if the index or a variable violates the format or its
/// checksum, [`ErrorKind::MissingFile`] if a data file is not beside the index, and [`ErrorKind::Io`] if a
/// file cannot be read.
pub fn open_tensorflow(index: &Path) -> Result<Checkpoint> {
    let label = index.display().to_string();
    let bytes = Bytes::map(index)?;
    let data = |shard: u64, shards: u64| -> Result<(String, Bytes)> {
        let path = data_file(index, shard, shards);
        if !path.is_file() {
            return Err(ErrorKind::MissingFile {
                folder: index.parent().unwrap_or(Path::new(".")).to_owned(),
                expected: vec![path.file_name().unwrap_or_default().display().to_string()],
                hint: format!("{label} says that the checkpoint has {shards} data files; fetch all of them"),
            }
            .into());
        }
        Ok((path.display().to_string(), Bytes::map(&path)?))
    };
    let mut checkpoint = Checkpoint::default();
    add(&mut checkpoint, &label, &bytes, data)?;
    Ok(checkpoint)
}

/// Adds the variables of an index. `data` opens a data file by its number and the number of all files.
fn add(
    checkpoint: &mut Checkpoint,
    label: &str,
    index: &[u8],
    data: impl Fn(u64, u64) -> Result<(String, Bytes)>,
) -> Result<()> {
    let (header, variables) = read_index(label, index)?;
    let mut files: Vec<Vec<(String, Entry)>> = Vec::new();
    files.resize_with(header.shards as usize, Vec::new);
    let mut sums = Vec::new();
    for (at, name, variable) in variables {
        let range = range(label, at, &variable)?;
        let Some(file) = files.get_mut(variable.shard as usize) else {
            let expected = format!("`{name}` in one of {} data files", header.shards);
            return Err(format_error(label, at, &expected, format!("file {}", variable.shard)));
        };
        let entry = match dtype(variable.dtype) {
            // `add` checks the size against the shape.
            Ok(dtype) => Entry::new(variable.shape, dtype, range.clone()),
            Err(other) => Entry::unreadable(variable.shape, other, range.clone()),
        };
        // The checksum of strings is taken over their lengths too, and none is read.
        if variable.dtype != STRING {
            sums.push((variable.shard as usize, name.clone(), range, variable.sum));
        }
        file.push((name, entry));
    }
    let mut labels = Vec::new();
    for (shard, entries) in files.into_iter().enumerate() {
        let (file, bytes) = data(shard as u64, header.shards)?;
        checkpoint.add(&file, bytes, entries)?;
        labels.push(file);
    }
    for (shard, name, range, sum) in sums {
        if checkpoint.bytes(&name).is_some_and(|bytes| !crc32c::verify(bytes, sum)) {
            let expected = format!("variable `{name}`, {} bytes with checksum {sum:08x}", range.len());
            let found = "another checksum: the file is damaged or belongs to another index";
            return Err(format_error(&labels[shard], range.start, &expected, found));
        }
    }
    Ok(())
}

/// Reads an index and one data file from memory, for tests and fuzzing. The data file's name is `label` with
/// `.data` behind it.
///
/// # Errors
/// Returns the errors of [`open_tensorflow`].
pub fn read_tensorflow(label: &str, index: &[u8], data: &[u8]) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::default();
    add(&mut checkpoint, label, index, |_, shards| match shards {
        1 => Ok((format!("{label}.data"), Bytes::Owned(data.to_vec()))),
        _ => Err(format_error(label, 0, "one data file", format!("{shards}"))),
    })?;
    Ok(checkpoint)
}

fn data_file(index: &Path, shard: u64, shards: u64) -> PathBuf {
    let name = index.file_name().unwrap_or_default().to_string_lossy();
    let prefix = name.strip_suffix(INDEX).unwrap_or(&name);
    index.with_file_name(format!("{prefix}.data-{shard:05}-of-{shards:05}"))
}

type Variables = Vec<(usize, String, Variable)>;

fn read_index(label: &str, index: &[u8]) -> Result<(Header, Variables)> {
    let mut header = Header::default();
    let mut variables = Vec::new();
    sstable::read(label, index, |key, value| {
        if key.is_empty() {
            header = self::header(value)?;
            return Ok(());
        }
        let Ok(name) = std::str::from_utf8(key) else {
            return Err(format_error(label, value.start, "a name in UTF-8", format!("{key:?}")));
        };
        let variable = variable(value)?;
        if variable.sliced {
            let expected =
                format!("variable `{name}` in one piece; save the checkpoint without a partitioner");
            return Err(format_error(label, value.start, &expected, "slices of it"));
        }
        variables.push((value.start, name.to_owned(), variable));
        Ok(())
    })?;
    if header.shards == 0 || header.shards > MAX_SHARDS {
        let expected = format!("a header with 1 to {MAX_SHARDS} data files");
        return Err(format_error(label, 0, &expected, header.shards.to_string()));
    }
    if header.big_endian {
        return Err(format_error(label, 0, "little-endian numbers", "big-endian ones"));
    }
    Ok((header, variables))
}

fn header(message: Message<'_>) -> Result<Header> {
    let mut header = Header::default();
    message.fields(|field, value| {
        match field {
            1 if matches!(value, Value::Bytes(_)) => {
                let expected = "a checkpoint of version 2 (NAME.index and NAME.data-*); restore it in its program and save \
                                it again with `tf.compat.v1.train.Saver()`";
                return Err(format_error(message.label, message.start, expected, "one of version 1"));
            }
            1 => header.shards = message.number(value)?,
            2 => header.big_endian = message.number(value)? != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(header)
}

fn variable(message: Message<'_>) -> Result<Variable> {
    let mut variable = Variable::default();
    message.fields(|field, value| {
        match (field, value) {
            (1, _) => variable.dtype = message.number(value)?,
            (2, _) => variable.shape = shape(message.message(value)?)?,
            (3, _) => variable.shard = message.number(value)?,
            (4, _) => variable.offset = message.number(value)?,
            (5, _) => variable.size = message.number(value)?,
            (6, Value::Fixed32(sum)) => variable.sum = u32::from_le_bytes(sum),
            (7, _) => variable.sliced = true,
            _ => {}
        }
        Ok(())
    })?;
    Ok(variable)
}

/// Reads a TensorShapeProto, a list of dimensions that are messages with their size.
fn shape(message: Message<'_>) -> Result<Vec<usize>> {
    const MAX_RANK: usize = 16;
    let mut shape = Vec::new();
    message.fields(|field, value| {
        if field != 2 {
            return Ok(());
        }
        let dimension = message.message(value)?;
        let mut size = 0;
        dimension.fields(|field, value| {
            if field == 1 {
                size = dimension.number(value)?;
            }
            Ok(())
        })?;
        if shape.len() == MAX_RANK {
            let expected = format!("at most {MAX_RANK} dimensions");
            return Err(format_error(message.label, dimension.start, &expected, "more"));
        }
        match usize::try_from(size) {
            Ok(size) => shape.push(size),
            Err(_) => return Err(format_error(message.label, dimension.start, "a size", size.to_string())),
        }
        Ok(())
    })?;
    Ok(shape)
}

fn range(label: &str, at: usize, variable: &Variable) -> Result<Range<usize>> {
    let end = variable.offset.checked_add(variable.size);
    match (usize::try_from(variable.offset), end.and_then(|end| usize::try_from(end).ok())) {
        (Ok(start), Some(end)) => Ok(start..end),
        _ => {
            let found = format!("{} bytes at {}", variable.size, variable.offset);
            Err(format_error(label, at, "a variable inside its data file", found))
        }
    }
}

/// Returns the type of a number of the enum DataType in tensorflow/core/framework/types.proto.
fn dtype(number: u64) -> Result<ElementType, String> {
    match number {
        1 => Ok(ElementType::F32),
        2 => Ok(ElementType::F64),
        6 => Ok(ElementType::I8),
        9 => Ok(ElementType::I64),
        14 => Ok(ElementType::Bf16),
        19 => Ok(ElementType::F16),
        3 => Err("DT_INT32".to_owned()),
        STRING => Err("DT_STRING".to_owned()),
        other => Err(format!("data type {other}")),
    }
}
