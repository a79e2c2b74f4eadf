//! Scalar linear layer.

use half::bf16;

use super::activation::activation;
use super::fma;
use super::quantize::RowRange;
use crate::Activation;

/// `sum of q[i] * w[i]`, exact for up to [`MOST_INPUTS`](crate::MOST_INPUTS) products.
pub fn dot(q: &[u8], w: &[i8]) -> i32 {
    q.iter().zip(w).map(|(&q, &w)| i32::from(q) * i32::from(w)).sum()
}

/// One output of an int8 linear, before its epilogue: `fma(acc * range.scale, scale, fma(range.offset,
/// offset_scale, bias))` where `acc` is [`dot`] and `offset_scale = scale * (sum of w)`.
pub fn linear_i8(q: &[u8], range: RowRange, w: &[i8], scale: f32, bias: f32) -> f32 {
    let column_sum: i32 = w.iter().map(|&w| i32::from(w)).sum();
    let offset_scale = scale * column_sum as f32;
    fma(dot(q, w) as f32 * range.scale, scale, fma(range.offset, offset_scale, bias))
}

/// One output of an f32 linear, before its epilogue: a chain of fma over the inputs in order, from 0, plus
/// `bias`.
pub fn linear_f32(x: &[f32], w: &[f32], bias: f32) -> f32 {
    x.iter().zip(w).fold(0.0f32, |acc, (&x, &w)| fma(x, w, acc)) + bias
}

/// One output of a bf16 linear, before its epilogue: both sides are rounded to bf16, and their products are
/// summed in f64, plus `bias`. The kernels sum in f32, in an order that depends on the instruction set, and
/// some treat denormals as 0.
pub fn linear_bf16(x: &[f32], w: &[f32], bias: f32) -> f32 {
    let round = |x: f32| f64::from(bf16::from_f32(x).to_f32());
    x.iter().zip(w).map(|(&x, &w)| round(x) * round(w)).sum::<f64>() as f32 + bias
}

/// `fma(gamma, residual, activation(x))`; without a residual, `activation(x)`.
pub fn epilogue(x: f32, function: Activation, residual: Option<(f32, f32)>) -> f32 {
    let x = activation(function, x);
    residual.map_or(x, |(r, gamma)| fma(gamma, r, x))
}
