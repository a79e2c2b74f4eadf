//! REGISTERS AND SLICES: the arithmetic of the native engine of `mobilebert`. The kernels know no models,
//! allocate nothing and return no `Result`; they panic if a slice is too short.
//!
//! Every kernel is written once over sixteen lanes (`simd`) and instantiated for each instruction set by
//! `registry`. The scalar functions in [`mod@reference`] define what it computes. The int8 path returns the
//! same bits on every instruction set. `docs/kernels.md` has the naming grammar, the table of variants and
//! the measurements.

#![allow(unsafe_code)]

mod activation;
mod aligned;
mod attention;
mod embedding;
mod gemm;
mod isa;
mod norm;
mod pack_heads;
mod peak;
mod quantize;
pub mod reference;
mod registry;
mod simd;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use aligned::{Aligned, Line, row_stride};
pub use attention::{
    ATTENTION_ROWS, Attention, AttentionInput, KeyScales, KeysValuesF32, KeysValuesI8, slots,
};
pub use embedding::{EmbeddingTable, PositionAndType};
pub use gemm::{
    Epilogue, FloatRows, FloatView, GROUP_ROWS, Gemm, I8View, Input, MOST_INPUTS, Memory, Output, PackedBf16,
    PackedF32, PackedFloat, PackedI8, Residual, UnplacedFloat, UnplacedI8, Weight, padded,
};
pub use isa::{Isa, OVERRIDE};
pub use norm::LayerNorm;
pub use pack_heads::{pack_keys_f32, pack_values_f32};
pub use quantize::{Levels, QuantizedRows, QuantizedRowsMut, RowRange, row_bytes};
pub use registry::{Kernel, Kernels, Variant, best, by_name, of, supported, variants};
