//! Holds a checkpoint: named tensors in one or more files of any supported format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};

use super::mmap::Bytes;
#[cfg(feature = "pickle")]
use super::pickle;
use super::safetensors;
use crate::error::{Error, ErrorKind, Result, TensorProblem};

/// The number types that a checkpoint may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Double precision. It is read as f32.
    F64,
    /// Signed bytes.
    I8,
    /// Unsigned bytes, used by the weights of ONNX's quantisers and by this crate's weights of 4 bits.
    U8,
    /// 32-bit integers, used by the biases of quantised linears.
    I32,
    /// 64-bit integers, used by buffers such as `position_ids`. They are never read as weights.
    I64,
}

impl ElementType {
    /// Returns the number of bytes of one element.
    pub fn size(self) -> usize {
        match self {
            ElementType::I8 | ElementType::U8 => 1,
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::F64 | ElementType::I64 => 8,
        }
    }

    /// Returns true if [`Checkpoint::f32`] reads this type.
    pub fn is_float(self) -> bool {
        matches!(self, ElementType::F32 | ElementType::F16 | ElementType::Bf16 | ElementType::F64)
    }

    /// Returns the name that safetensors gives the type.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "F32",
            ElementType::F16 => "F16",
            ElementType::Bf16 => "BF16",
            ElementType::F64 => "F64",
            ElementType::I8 => "I8",
            ElementType::U8 => "U8",
            ElementType::I32 => "I32",
            ElementType::I64 => "I64",
        }
    }
}

const FLOATS: &str = "F32, F16, BF16 or F64";

/// The description of a tensor: its shape, its number type, and the bytes of its file that hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The dimensions.
    pub shape: Vec<usize>,
    /// The number type, or the name that the file gives to a type that this engine does not read.
    pub dtype: Result<ElementType, String>,
    file: usize,
    bytes: Range<usize>,
}

impl Entry {
    /// Returns the number of bytes that the tensor takes in its file.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the range of the file's bytes that holds the tensor.
    #[cfg(feature = "pickle")]
    pub(super) fn byte_range(&self) -> Range<usize> {
        self.bytes.clone()
    }

    /// Returns the same tensor, with its end cut to the length of its file, so that missing bytes are
    /// reported as missing.
    pub fn up_to(mut self, length: usize) -> Self {
        self.bytes.end = self.bytes.end.min(length.max(self.bytes.start));
        self
    }

    /// Describes a tensor at a range of bytes of its file. [`Checkpoint::add`] checks the range against the
    /// shape.
    pub fn new(shape: Vec<usize>, dtype: ElementType, bytes: Range<usize>) -> Self {
        Self { shape, dtype: Ok(dtype), file: 0, bytes }
    }

    /// Describes a tensor that may be in the file but cannot be a weight. `dtype` names the reason.
    pub fn unreadable(shape: Vec<usize>, dtype: String, bytes: Range<usize>) -> Self {
        Self { shape, dtype: Err(dtype), file: 0, bytes }
    }
}

/// The tensors of a checkpoint, by name.
#[derive(Debug, Default)]
pub struct Checkpoint {
    files: Vec<File>,
    entries: BTreeMap<String, Entry>,
}

/// A buffer that tensors lie in.
#[derive(Debug)]
struct File {
    label: String,
    bytes: Bytes,
    /// True if the bytes are reordered copies of tensors of another file and not a file themselves.
    copied: bool,
    /// The number of bytes that are not needed any more and whose memory has not been given back.
    not_needed: AtomicUsize,
}

/// Giving back each tensor's memory alone took 10 ms of a start with two threads, because each time the other
/// processor forgets the addresses of the pages too.
const RELEASED_AT_ONCE: usize = 4 << 20;

impl Checkpoint {
    /// Adds the tensors of a safetensors file. `label` names the file in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] if the file violates the format (short, oversized or overlapping tensors, bad
    /// header), or [`ErrorKind::Tensor`] if a name is already taken.
    pub fn add_safetensors(&mut self, label: &str, bytes: Bytes) -> Result<()> {
        let entries = safetensors::read(label, &bytes)?;
        self.add(label, bytes, entries)
    }

    /// Adds the tensors of a PyTorch file (`torch.save`), without running any code from it.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the offset. Any pickled object that is not a plain tensor gives this error
    /// too.
    #[cfg(feature = "pickle")]
    pub fn add_pytorch(&mut self, label: &str, bytes: Bytes) -> Result<()> {
        let pickle::Contents { bytes, entries, gathered, gathered_entries } = pickle::read(label, bytes)?;
        self.add(label, bytes, entries)?;
        if gathered_entries.is_empty() {
            return Ok(());
        }
        self.add(label, gathered.into(), gathered_entries)?;
        self.files.last_mut().into_iter().for_each(|file| file.copied = true);
        Ok(())
    }

    /// Adds all entries, or none if one of them is wrong.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] if a range of bytes does not fit its shape or leaves the file, or if a name is
    /// taken.
    pub fn add(&mut self, label: &str, bytes: Bytes, entries: Vec<(String, Entry)>) -> Result<()> {
        for (name, entry) in &entries {
            let size = entry.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let length = entry.dtype.as_ref().ok().and_then(|d| size?.checked_mul(d.size()));
            let start = entry.bytes.start;
            if entry.dtype.is_ok() && length != Some(entry.bytes.len())
                || bytes.get(entry.bytes.clone()).is_none()
            {
                let found = format!("`{name}` of shape {:?} at {:?}", entry.shape, entry.bytes);
                return Err(format_error(label, start, "bytes as its shape says, inside the file", found));
            }
            if self.entries.contains_key(name) {
                let found = format!("`{name}`, which is also in {}", self.file_of(name));
                return Err(format_error(label, start, "each tensor in one file only", found));
            }
        }
        let file = self.files.len();
        self.files.push(File {
            label: label.to_owned(),
            bytes,
            copied: false,
            not_needed: AtomicUsize::new(0),
        });
        self.entries.extend(entries.into_iter().map(|(name, entry)| (name, Entry { file, ..entry })));
        Ok(())
    }

    /// Returns the names and descriptions of all tensors, sorted by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Returns the description of a tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Returns the label of the file that holds a tensor, or of the first file if none holds it.
    pub fn file_of(&self, name: &str) -> &str {
        let file = self.entries.get(name).map_or(0, |e| e.file);
        self.files.get(file).map_or("model", |file| &file.label)
    }

    /// Returns the labels and contents of the files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().filter(|file| !file.copied).map(|file| (file.label.as_str(), &*file.bytes))
    }

    /// Notes that a tensor's bytes are not needed any more. The memory of a file is given back each time that
    /// [`RELEASED_AT_ONCE`] bytes are not; what is still needed is read again.
    pub(crate) fn release(&self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let Some(file) = self.files.get(entry.file) else { return };
        if file.not_needed.fetch_add(entry.byte_len(), Ordering::Relaxed) >= RELEASED_AT_ONCE {
            file.not_needed.store(0, Ordering::Relaxed);
            file.bytes.release();
        }
    }

    /// Returns the bytes of a tensor, in little-endian order.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        let entry = self.entries.get(name)?;
        self.files[entry.file].bytes.get(entry.bytes.clone())
    }

    /// Returns a float tensor as f32. It is borrowed if the file already holds aligned f32.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] if it is absent, not a float type, or holds a value that is not finite.
    pub fn f32(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let (entry, bytes) = self.find(name)?;
        let values: Cow<'_, [f32]> = match entry.dtype {
            Ok(ElementType::F32) => match bytemuck::try_cast_slice(bytes) {
                Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
                _ => elements(bytes, f32::from_le_bytes).collect(),
            },
            Ok(ElementType::F16) => elements(bytes, |b| f16::from_le_bytes(b).to_f32()).collect(),
            Ok(ElementType::Bf16) => elements(bytes, |b| bf16::from_le_bytes(b).to_f32()).collect(),
            Ok(ElementType::F64) => elements(bytes, |b| f64::from_le_bytes(b) as f32).collect(),
            _ => return Err(self.wrong_type(name, entry, FLOATS)),
        };
        // The loop does not end early, so that it can be vectorised.
        if values.iter().fold(true, |finite, v| finite & v.is_finite()) {
            return Ok(values);
        }
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values),
            Some(index) => {
                let problem = TensorProblem::NotFinite { index, value: values[index] };
                Err(Error::tensor(self.file_of(name), name, problem))
            }
        }
    }

    /// Returns an int8 tensor.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] if it is absent or of another type.
    pub fn i8(&self, name: &str) -> Result<&[i8]> {
        match self.find(name)? {
            (Entry { dtype: Ok(ElementType::I8), .. }, bytes) => Ok(bytemuck::cast_slice(bytes)),
            (entry, _) => Err(self.wrong_type(name, entry, "I8")),
        }
    }

    /// Returns a tensor of unsigned bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] if it is absent or of another type.
    pub fn u8(&self, name: &str) -> Result<&[u8]> {
        match self.find(name)? {
            (Entry { dtype: Ok(ElementType::U8), .. }, bytes) => Ok(bytes),
            (entry, _) => Err(self.wrong_type(name, entry, "U8")),
        }
    }

    /// Returns a tensor of numbers of any type that fits into f64. It is meant for the small constants of
    /// graphs.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] if it is absent or of another type.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let (entry, bytes) = self.find(name)?;
        match entry.dtype {
            Ok(ElementType::I64) => Ok(elements(bytes, i64::from_le_bytes).map(|n| n as f64).collect()),
            Ok(ElementType::I8 | ElementType::U8 | ElementType::I32) => {
                Ok(self.integers(name)?.into_iter().map(f64::from).collect())
            }
            _ => Ok(self.f32(name)?.iter().map(|&n| f64::from(n)).collect()),
        }
    }

    /// Returns a tensor of integers of at most 32 bits.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] if it is absent or of another type.
    pub fn integers(&self, name: &str) -> Result<Vec<i32>> {
        let (entry, bytes) = self.find(name)?;
        match entry.dtype {
            Ok(ElementType::I8) => Ok(bytes.iter().map(|&b| i32::from(b as i8)).collect()),
            Ok(ElementType::U8) => Ok(bytes.iter().map(|&b| i32::from(b)).collect()),
            Ok(ElementType::I32) => Ok(elements(bytes, i32::from_le_bytes).collect()),
            _ => Err(self.wrong_type(name, entry, "I8, U8 or I32")),
        }
    }

    /// Checks, without reading it, that a tensor has a type that [`Checkpoint::f32`] reads.
    pub fn check_float(&self, name: &str) -> Result<()> {
        let (entry, _) = self.find(name)?;
        match &entry.dtype {
            Ok(dtype) if dtype.is_float() => Ok(()),
            _ => Err(self.wrong_type(name, entry, FLOATS)),
        }
    }

    fn find(&self, name: &str) -> Result<(&Entry, &[u8])> {
        match (self.entries.get(name), self.bytes(name)) {
            (Some(entry), Some(bytes)) => Ok((entry, bytes)),
            _ => {
                let problem = TensorProblem::Missing { expected: Vec::new(), nearest: None };
                Err(Error::tensor(self.file_of(name), name, problem))
            }
        }
    }

    fn wrong_type(&self, name: &str, entry: &Entry, expected: &'static str) -> Error {
        let found = match &entry.dtype {
            Ok(dtype) => dtype.name().to_owned(),
            Err(other) => other.clone(),
        };
        Error::tensor(self.file_of(name), name, TensorProblem::Dtype { expected, found })
    }
}

/// Returns an [`ErrorKind::Format`] at a byte of a file. `found` is cut to 300 characters, because it may
/// come from the file and be as long as the file.
pub fn format_error(file: &str, offset: usize, expected: &str, found: impl Into<String>) -> Error {
    const MAX_FOUND: usize = 300;
    let found = found.into().chars().take(MAX_FOUND).collect();
    ErrorKind::Format { file: file.into(), offset: offset as u64, expected: expected.into(), found }.into()
}

fn elements<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<N>().0.iter().map(move |&chunk| read(chunk))
}
