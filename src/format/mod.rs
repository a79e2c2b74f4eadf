//! Reads weights from disk: checkpoint files in, tensors out.

mod checkpoint;
mod digest;
mod folder;
mod mmap;
#[cfg(feature = "pickle")]
mod pickle;
pub mod reader;
mod safetensors;
#[cfg(feature = "pickle")]
pub mod zip;

pub use checkpoint::{Checkpoint, ElementType, Entry, format_error};
pub use digest::sha256;
pub use folder::is_plain_file_name;
pub use mmap::Bytes;

use std::borrow::Cow;

use crate::error::Result;
use crate::graph::ParameterId;

/// A weight as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor<'a> {
    /// Row-major f32. Files in f16 and bf16 are widened.
    F32(Cow<'a, [f32]>),
    /// Symmetric int8 with one scale for each row, which is an output channel of a linear or a row of an
    /// embedding table. Element `[r, c]` is `values[r * columns + c] as f32 * scales[r]`, and no value is
    /// -128.
    Int8 {
        /// Row-major values in -127..=127.
        values: Cow<'a, [i8]>,
        /// One positive scale per row.
        scales: Cow<'a, [f32]>,
    },
}

impl<'a> Tensor<'a> {
    /// Returns the elements as row-major f32. Int8 is dequantised.
    pub fn into_f32(self) -> Cow<'a, [f32]> {
        match self {
            Tensor::F32(values) => values,
            Tensor::Int8 { values, scales } => {
                let columns = values.len() / scales.len().max(1);
                let rows = values.chunks_exact(columns.max(1)).zip(scales.iter());
                Cow::Owned(rows.flat_map(|(row, s)| row.iter().map(move |&v| f32::from(v) * s)).collect())
            }
        }
    }
}

/// A source of weights for a backend, such as a checkpoint or a formula. It checks its tensors before it
/// hands them out: each has the shape that the graph asks for, and each value is finite.
pub trait WeightSource: Sync {
    /// Returns the tensor of a parameter of the graph that this source was opened for.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Tensor`] or [`crate::ErrorKind::Io`] if it cannot be read.
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>>;

    /// Says that a backend has a copy of a parameter, so that memory that holds it can be given back. It can
    /// be read again nevertheless. A source that has nothing to give back does nothing.
    fn release(&self, _parameter: ParameterId) {}
}
