//! Linear layers: packed weights, register tiles of dot products, and one epilogue for everything that
//! follows them.
//!
//! Rows are processed in groups. Each group reads the weights once, in panels of up to four strips of sixteen
//! columns.

#[cfg(target_arch = "x86_64")]
mod amx;
mod driver;
mod epilogue;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
mod mlal;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod products;
mod tile;
#[cfg(target_feature = "relaxed-simd")]
mod wasm;
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
mod widened;

#[cfg(target_arch = "x86_64")]
use amx::Configured;
pub(super) use driver::gemm;
pub use pack::{
    FloatView, I8View, Memory, PackedBf16, PackedF32, PackedFloat, PackedI8, UnplacedFloat, UnplacedI8,
    Weight,
};
pub(super) use products::{F32, Int8, Products};
pub(super) use tile::{EachRow, Registers, Strips, Sums, Tiles, each_in_memory, next_rows};

use half::bf16;

use super::aligned::{Aligned, Line};
use super::norm::LayerNorm;
use super::quantize::{QuantizedRows, QuantizedRowsMut};
use crate::Activation;

/// Most inputs of an int8 linear. More products of a byte up to 255 and a weight down to -128 could overflow
/// the i32 that they are summed in.
pub const MOST_INPUTS: usize = i32::MAX as usize / (255 * 128);

/// Most rows of a group: as many as a block of the native backend has.
pub const GROUP_ROWS: usize = 128;

/// The configuration of tile registers, which this architecture does not have.
#[cfg(not(target_arch = "x86_64"))]
type Configured = std::convert::Infallible;

/// Strips of a panel.
pub(super) const PANEL_STRIPS: usize = 4;

/// Whether `rows` rows of `width` elements, `stride` apart, fit into `length` elements. Products that overflow
/// do not fit.
#[inline(always)]
pub(super) fn fits(length: usize, rows: usize, stride: usize, width: usize) -> bool {
    let Some(last) = rows.checked_sub(1) else { return true };
    last.checked_mul(stride).and_then(|start| start.checked_add(width)).is_some_and(|end| end <= length)
}

/// Rows of a matrix of f32, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct FloatRows<'a> {
    /// Row-major numbers.
    pub values: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
}

impl<'a> FloatRows<'a> {
    /// Whether the slice holds `rows` rows of `width` numbers.
    pub(super) fn holds(&self, rows: usize, width: usize) -> bool {
        rows == 0 || (self.stride >= width && fits(self.values.len(), rows, self.stride, width))
    }

    pub(super) fn row(&self, row: usize, width: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..width]
    }
}

/// A residual: `gamma * rows` is added to the result.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// The values, with as many rows and columns as the result.
    pub rows: FloatRows<'a>,
    /// One factor a column, from [`padded`].
    pub gamma: &'a [[f32; 16]],
}

/// The operations on a linear's result `x`: `norm(activation(x) + gamma * residual)`.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Applied first.
    pub activation: Activation,
    /// Added next.
    pub residual: Option<Residual<'a>>,
    /// Applied last.
    pub norm: Option<LayerNorm<'a>>,
}

impl Epilogue<'_> {
    /// No further operation.
    pub const PLAIN: Self = Self { activation: Activation::Identity, residual: None, norm: None };
}

/// The destination of a linear's result.
#[derive(Debug)]
pub struct Output<'a> {
    /// The result, row-major. If it is not kept, room for [`GROUP_ROWS`] rows.
    pub values: &'a mut [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Whether all rows are kept. If not, each group overwrites the one before.
    pub keep: bool,
    /// The result quantised row by row.
    pub quantized: Option<QuantizedRowsMut<'a>>,
}

/// The rows and the weights that a linear reads.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Quantised rows and int8 weights.
    Int8(QuantizedRows<'a>, I8View<'a>),
    /// Rows of [`super::Levels::Bf16`] and bf16 weights.
    Bf16(QuantizedRows<'a>, FloatView<'a, bf16>),
    /// Rows and weights in f32.
    F32(FloatRows<'a>, FloatView<'a, f32>),
}

/// One linear layer over some rows.
#[derive(Debug)]
pub struct Gemm<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Rows and weights.
    pub input: Input<'a>,
    /// The operations that follow.
    pub epilogue: Epilogue<'a>,
    /// The destination of the result.
    pub output: Output<'a>,
    /// The weights of the next linear, which are prefetched into the L2 cache.
    pub ahead: &'a [Line<[u8; 64]>],
}

impl<'a> Gemm<'a> {
    /// Panics unless every slice holds what the kernels will read and write.
    pub(super) fn check(&self) {
        let (rows, columns) = (self.rows, self.columns());
        match &self.input {
            Input::Int8(x, w) => assert!(x.holds(rows, w.inputs()), "int8 rows are too short"),
            Input::Bf16(x, w) => assert!(x.holds(rows, 2 * w.inputs()), "bf16 rows are too short"),
            Input::F32(x, w) => assert!(x.holds(rows, w.inputs()), "f32 rows are too short"),
        }
        if let Some(r) = &self.epilogue.residual {
            assert!(r.rows.holds(rows, columns), "residual is too short");
            assert!(r.gamma.len() >= columns.div_ceil(16), "gamma is too short");
        }
        if let Some(norm) = &self.epilogue.norm {
            norm.check(columns);
        }
        let out = &self.output;
        let kept = if out.keep { rows } else { rows.min(GROUP_ROWS) };
        assert!(
            FloatRows { values: out.values, stride: out.stride }.holds(kept, columns),
            "output is too short"
        );
        if let Some(q) = &out.quantized {
            assert!(q.holds(rows, q.levels.bytes(columns)), "quantised output is too short");
        }
    }

    fn weights(&self) -> &'a [Line<[u8; 64]>] {
        match &self.input {
            Input::Int8(_, w) => bytemuck::cast_slice(w.lines),
            Input::Bf16(_, w) => bytemuck::cast_slice(w.lines),
            Input::F32(_, w) => bytemuck::cast_slice(w.lines),
        }
    }

    fn columns(&self) -> usize {
        match &self.input {
            Input::Int8(_, w) => w.columns(),
            Input::Bf16(_, w) => w.columns(),
            Input::F32(_, w) => w.columns(),
        }
    }
}

/// Copies numbers per column into groups of sixteen and fills up the last one with `fill`.
pub fn padded(values: &[f32], fill: f32) -> Aligned<[f32; 16]> {
    let mut groups = Aligned::<[f32; 16]>::default();
    groups.grow(values.len().div_ceil(16));
    for (group, chunk) in groups.iter_mut().zip(values.chunks(16)) {
        group[..chunk.len()].copy_from_slice(chunk);
        group[chunk.len()..].fill(fill);
    }
    groups
}
