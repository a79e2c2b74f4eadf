//! Writes model folders in Hugging Face's layout, in floats, in int8 and in 4 bits.
//!
//! The same weights become the same tensors, whatever a model was read from: see [`content_hash`].

mod canonical;
mod floats;
mod int8;
mod output;
mod partial_file;
mod probe;
mod quantized;
mod raw_model;

pub use canonical::content_hash;
pub use int8::{
    Int8Options, Int8Report, TensorError, TensorProgress, to_int8, to_int8_watched, to_int8_with,
};

pub use output::{Removed, remove_unfinished};

pub(crate) use canonical::{config_json, le_bytes};
#[cfg(feature = "candle")]
pub(crate) use floats::write_f32;
pub(crate) use floats::write_weights;
pub(crate) use int8::{folder_of, write_int8};
pub(crate) use output::{Partial, check_destination};
pub(crate) use partial_file::PartialFile;
pub(crate) use probe::{check_logits, sample};
pub(crate) use raw_model::RawModel;

/// A function that is called while tensors are written, with the bytes written so far and in all.
pub type WriteProgress<'p> = &'p dyn Fn(u64, u64);
