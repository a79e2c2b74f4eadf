//! Multiply and add by the instruction of relaxed SIMD, on runtimes that round it once.

use std::arch::wasm32::*;

use super::{Registers, coefficient, each};

#[inline(always)]
pub(super) fn fma(a: Registers, b: Registers, c: Registers) -> Registers {
    each!(f32x4_relaxed_madd, a, b, c)
}

/// Computes [`super::Simd::horner`].
#[inline(always)]
pub(super) fn horner<const N: usize>(zero: usize, coefficients: &[f32; N], x: Registers) -> Registers {
    let mut p = [coefficient(zero, coefficients, N - 1); 4];
    for i in (0..N - 1).rev() {
        p = fma(p, x, [coefficient(zero, coefficients, i); 4]);
    }
    p
}

/// A runtime may turn NaN into 0 or `i32::MIN`, and numbers that are too large into `i32::MAX` or `i32::MIN`.
/// Both are changed to `i32::MIN`. Numbers that are too small become `i32::MIN` everywhere.
#[inline(always)]
pub(super) fn to_int(a: v128) -> v128 {
    let q = i32x4_relaxed_trunc_f32x4(f32x4_nearest(a));
    v128_bitselect(q, i32x4_splat(i32::MIN), f32x4_lt(a, f32x4_splat(2_147_483_648.0)))
}

/// Computes [`super::Simd::levels`]: NaN and numbers that are too large become 0, as `i32::MIN` does.
#[inline(always)]
pub(super) fn levels(_zero: usize, x: Registers, inverse: Registers, shift: Registers) -> Registers {
    let limit = f32x4_splat(2_147_483_648.0);
    let mut out = fma(x, inverse, shift);
    for x in &mut out {
        *x = v128_and(i32x4_relaxed_trunc_f32x4(f32x4_nearest(*x)), f32x4_lt(*x, limit));
    }
    out
}
