//! Scalar activation functions.

#![allow(
    clippy::approx_constant,
    clippy::excessive_precision,
    reason = "coefficients as they were fitted; the nearest f32 is what counts"
)]

use super::fma;
use crate::Activation;

/// Minimax polynomial of `2^r` on [-1/2, 1/2], exact at 0. Its relative error is 9.2e-8 before rounding.
pub(crate) const EXP2: [f32; 6] =
    [1.0, 0.693_147, 0.240_222_42, 0.055_507_336, 0.009_671_513, 0.001_326_472_7];

/// Polynomial of degree 3 for the same function, with a relative error of 1.1e-4.
pub(crate) const EXP2_COARSE: [f32; 4] = [1.0, 0.693_282_9, 0.242_210_95, 0.055_008_933];

/// `2^EXP2_LOWEST` is the smallest normal f32, which [`exp2`] returns for all smaller arguments.
pub(crate) const EXP2_LOWEST: f32 = -126.0;

/// Adding 1.5 * 2^23 leaves the integer part of a small number in the low mantissa bits.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// The argument at which the tail of GELU is below 6e-9. The tail is constant beyond it.
pub(crate) const GELU_LIMIT: f32 = 6.0;

/// Polynomial of `log2(Phi(-u))` on [0, 6], fitted so that the error of `u * Phi(-u)` is below 7e-9 before
/// rounding.
pub(crate) const GELU_TAIL: [f32; 9] = [
    -0.999_998_87,
    -1.151_123_3,
    -0.459_115_45,
    -0.052_714_2,
    0.007_333_384,
    -0.000_323_342,
    -0.000_114_462_69,
    2.508_330_4e-5,
    -1.690_400_9e-6,
];

/// `-2 * sqrt(2 / pi) * log2(e)` times 1 and times 0.044715: the exponent of the tanh form of GELU divided by
/// `u`, as a polynomial in `u^2`.
pub(crate) const GELU_NEW: [f32; 2] = [-2.302_208_2, -0.102_943_24];

/// `-log2(e)`
pub(crate) const SILU: f32 = -1.442_695;

/// The argument at which the tail of SiLU is below 2e-36, where `exp2` is still exact. The tail is constant
/// beyond it.
pub(crate) const SILU_LIMIT: f32 = 87.0;

/// `-2 * log2(e)`
pub(crate) const TANH: f32 = -2.885_39;

/// `2^t` for `t <= 0`, with a relative error below 2e-7. The result is 2^-126 for `t` below -126 and for NaN.
///
/// It computes `n = (t + 1.5 * 2^23) - 1.5 * 2^23` (the nearest integer, ties to even), then the polynomial
/// of `t - n` by Horner's rule with fma, and then adds `n` to the exponent field.
pub fn exp2(t: f32) -> f32 {
    scaled(t, &EXP2)
}

/// `2^t` like [`exp2`], but with a relative error below 1.1e-4. This is a twentieth of a step of the 8-bit
/// weights to which an int8 attention rounds the result.
pub fn exp2_coarse(t: f32) -> f32 {
    scaled(t, &EXP2_COARSE)
}

fn scaled(t: f32, polynomial: &[f32]) -> f32 {
    let t = if t > EXP2_LOWEST { t } else { EXP2_LOWEST };
    let shifted = t + ROUNDER;
    let p = horner(polynomial, t - (shifted - ROUNDER));
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

fn horner(coefficients: &[f32], x: f32) -> f32 {
    coefficients.iter().rev().copied().reduce(|p, c| fma(p, x, c)).unwrap_or(0.0)
}

/// Applies an [`Activation`] to one number. A NaN stays a NaN.
///
/// * `Relu`: `if 0 > x { 0 } else { x }`.
/// * `Gelu`: `max(x, 0) - u * Phi(-u)` with `u = min(|x|, 6)` and `Phi(-u) = exp2(polynomial(u))`; absolute
///   error below 3e-7 + 6e-8 |x|.
/// * `GeluNew`: the same with `e / (1 + e)` for `Phi(-u)`, `e = exp(-2 sqrt(2/pi) (u + 0.044715 u^3))`; same
///   bound against its own formula.
/// * `Silu`: `max(x, 0) - u * e / (1 + e)` with `u = min(|x|, 87)` and `e = exp2(-log2(e) u)`; absolute error
///   below 3e-7 + 6e-8 |x|.
/// * `Tanh`: `(1 - e) / (1 + e)` with `e = exp2(-2 log2(e) |x|)` and the sign of `x`; absolute error below
///   2e-7.
pub fn activation(function: Activation, x: f32) -> f32 {
    let positive = if 0.0 > x { 0.0 } else { x };
    let at_most = |limit| if x.abs() < limit { x.abs() } else { limit };
    let u = at_most(GELU_LIMIT);
    match function {
        Activation::Identity => x,
        Activation::Relu => positive,
        Activation::Gelu => fma(-u, exp2(horner(&GELU_TAIL, u)), positive),
        Activation::GeluNew => {
            let e = exp2(u * horner(&GELU_NEW, u * u));
            fma(-u, e / (1.0 + e), positive)
        }
        Activation::Silu => {
            let u = at_most(SILU_LIMIT);
            let e = exp2(u * SILU);
            fma(-u, e / (1.0 + e), positive)
        }
        Activation::Tanh => {
            let u = if f32::MAX < x.abs() { f32::MAX } else { x.abs() };
            let e = exp2(u * TANH);
            // `exp2` loses a NaN, and `0 * u` restores it.
            fma(0.0, u, (1.0 - e) / (1.0 + e)).copysign(x)
        }
    }
}
