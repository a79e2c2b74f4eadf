//! Rounding as in the int8 engine, with the gradient of the identity: the straight-through estimator (Bengio,
//! Léonard and Courville 2013, arXiv 1308.3432).
//!
//! Rows are along the last dimension. The rounding calls the engine's own kernels, so it runs on the CPU even
//! if the tensor is on a GPU.

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};

use mobilebert::kernels::reference::quantize::quantize_symmetric;
use mobilebert::kernels::{self, FloatRows, Levels, QuantizedRowsMut, RowRange, row_bytes};

/// `value`, with the gradient of `x`. Both have the same shape.
pub(super) fn straight_through(x: &Tensor, value: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op2(value, Replace) } else { composed(x, value) }
}

/// The same as [`straight_through`], composed of operations that every device has. `x - x` is 0, so this is
/// `value` to the bit.
pub(super) fn composed(x: &Tensor, value: &Tensor) -> Result<Tensor> {
    value.detach() + (x - x.detach())?
}

/// Rounds each row to 8 bits and back, to `scale * q + offset` (see [`Levels`]), with the gradient of `x`.
pub(super) fn activations(x: &Tensor, levels: Levels) -> Result<Tensor> {
    straight_through(x, &dequantized(x, levels)?)
}

/// Rounds each row to 8 bits and back, without gradient.
fn dequantized(x: &Tensor, levels: Levels) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    rowwise(x, |values, columns| {
        let rows = values.len() / columns;
        let (stride, mut ranges) = (row_bytes(width), vec![RowRange::default(); rows]);
        let mut bytes = vec![0; rows * stride];
        let to = QuantizedRowsMut { values: &mut bytes, stride, ranges: &mut ranges, levels };
        kernels::best().quantize(rows, columns, FloatRows { values, stride: columns }, to);
        for ((row, bytes), range) in values.chunks_exact_mut(columns).zip(bytes.chunks(stride)).zip(ranges) {
            for (x, &q) in row.iter_mut().zip(bytes) {
                *x = range.scale * f32::from(q) + range.offset;
            }
        }
    })
}

/// Rounds each row of keys or values to symmetric 8 bits and back, with the gradient of `x`. Also returns the
/// scale of each row.
pub(super) fn symmetric(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let mut scales = Vec::new();
    let value = rowwise(x, |values, columns| {
        let mut bytes = vec![0; columns];
        for row in values.chunks_exact_mut(columns) {
            let scale = quantize_symmetric(row, &mut bytes);
            row.iter_mut().zip(&bytes).for_each(|(x, &q)| *x = f32::from(q) * scale);
            scales.push(scale);
        }
    })?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    Ok((straight_through(x, &value)?, Tensor::from_vec(scales, shape, x.device())?))
}

/// Rounds probabilities `[.., queries, keys]`, with the gradient of `x`. The engine rounds the product of
/// each probability with the scale of its value `[.., keys]`, so that its sum over the keys is exact in
/// integers; this does the same and divides the scale out again.
pub(super) fn probabilities(x: &Tensor, value_scales: &Tensor) -> Result<Tensor> {
    let scales = value_scales.unsqueeze(value_scales.rank() - 1)?;
    let rounded = dequantized(&x.detach().broadcast_mul(&scales)?, Levels::Unsigned)?;
    let zero = scales.zeros_like()?;
    let inverse = scales.eq(&zero)?.where_cond(&zero, &scales.recip()?)?;
    straight_through(x, &rounded.broadcast_mul(&inverse)?)
}

/// Applies `change` to a copy of the tensor's numbers, which has no gradient. `change` also gets the number
/// of columns.
fn rowwise(x: &Tensor, change: impl FnOnce(&mut [f32], usize)) -> Result<Tensor> {
    let columns = x.dim(candle_core::D::Minus1)?.max(1);
    let mut values = x.flatten_all()?.to_vec1::<f32>()?;
    change(&mut values, columns);
    Tensor::from_vec(values, x.shape(), x.device())
}

/// The second tensor, with the gradient of the first.
struct Replace;

impl CustomOp2 for Replace {
    fn name(&self) -> &'static str {
        "straight-through"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        x: &Layout,
        value: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (start, end) =
            layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: self.name() })?;
        if x.shape() != layout.shape() {
            let (lhs, rhs) = (x.shape().clone(), layout.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: self.name() });
        }
        Ok((CpuStorage::F32(value.as_slice::<f32>()?[start..end].to_vec()), layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), None))
    }
}
