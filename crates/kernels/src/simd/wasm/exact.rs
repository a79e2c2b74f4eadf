//! Multiply and add without such an instruction.
//!
//! The product of two f32 is exact in f64. Rounding the sum to f64 and then to f32 gives the same result as
//! rounding it once, unless the f64 is a tie of f32 or the result is denormal. Where that is so, all lanes
//! are computed again with the f64 rounded to odd, which makes the second rounding right.

use std::arch::wasm32::*;

use super::{ROUNDER, Registers, coefficient, each, pmax};
use crate::reference::activation::GELU_LIMIT;

/// Finds results that may be wrong. It is cheaper to look at the bits of many sums together than at each.
struct Doubts {
    /// The least of the low 32 bits of the sums, without the highest three of these. Of the 29 bits that are
    /// dropped by rounding to f32, a tie has only the highest set, which makes it the least i32.
    ties: v128,
    /// The least of the high 32 bits without the sign, less 1, as u32: below that of 2^-126 it is a denormal
    /// f32. Zero, which is exact, becomes the greatest.
    small: v128,
}

impl Doubts {
    #[inline(always)]
    fn new() -> Self {
        Self { ties: i32x4_splat(0), small: i32x4_splat(-1) }
    }

    #[inline(always)]
    fn see_ties(&mut self, low: v128, high: v128) {
        self.ties = i32x4_min(self.ties, i32x4_shl(i32x4_shuffle::<0, 2, 4, 6>(low, high), 3));
    }

    #[inline(always)]
    fn see_small(&mut self, low: v128, high: v128) {
        let upper = i32x4_shl(i32x4_shuffle::<1, 3, 5, 7>(low, high), 1);
        self.small = u32x4_min(self.small, i32x4_add(upper, i32x4_splat(-1)));
    }

    #[inline(always)]
    fn any(self) -> bool {
        const NORMAL: u32 = 0x381 << 20; // the upper half of 2^-126
        let ties = i32x4_eq(self.ties, i32x4_splat(i32::MIN));
        v128_any_true(v128_or(ties, u32x4_lt(self.small, u32x4_splat(2 * NORMAL - 1))))
    }
}

#[inline(always)]
fn wide_low(x: v128) -> v128 {
    f64x2_promote_low_f32x4(x)
}

#[inline(always)]
fn wide_high(x: v128) -> v128 {
    f64x2_promote_low_f32x4(i32x4_shuffle::<2, 3, 2, 3>(x, x))
}

#[inline(always)]
fn to_f32(low: v128, high: v128) -> v128 {
    i32x4_shuffle::<0, 1, 4, 5>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

/// Computes [`crate::reference::fma`] on sixteen lanes.
#[inline(always)]
pub(super) fn fma(a: Registers, b: Registers, c: Registers) -> Registers {
    let (mut out, mut doubts) = (c, Doubts::new());
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        let low = f64x2_add(f64x2_mul(wide_low(a), wide_low(b)), wide_low(*out));
        let high = f64x2_add(f64x2_mul(wide_high(a), wide_high(b)), wide_high(*out));
        doubts.see_ties(low, high);
        doubts.see_small(low, high);
        *out = to_f32(low, high);
    }
    if doubts.any() { fma_rounded_to_odd(a, b, c) } else { out }
}

/// The same as [`fma`], right for all numbers.
#[cold]
#[inline(never)]
fn fma_rounded_to_odd(a: Registers, b: Registers, c: Registers) -> Registers {
    let mut out = c;
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        let low = sum_to_odd(f64x2_mul(wide_low(a), wide_low(b)), wide_low(*out));
        let high = sum_to_odd(f64x2_mul(wide_high(a), wide_high(b)), wide_high(*out));
        *out = to_f32(low, high);
    }
    out
}

#[inline(always)]
fn sum_to_odd(a: v128, b: v128) -> v128 {
    let sum = f64x2_add(a, b);
    let of_b = f64x2_sub(sum, a);
    let error = f64x2_add(f64x2_sub(a, f64x2_sub(sum, of_b)), f64x2_sub(b, of_b));
    let inexact = f64x2_gt(f64x2_abs(error), f64x2_splat(0.0));
    // Subtracts 1 if the sum was rounded away from zero.
    let towards_zero = i64x2_add(sum, v128_and(inexact, i64x2_shr(v128_xor(sum, error), 63)));
    v128_or(towards_zero, v128_and(inexact, i64x2_splat(1)))
}

/// Computes [`super::Simd::horner`] for two registers at a time: of more, some would leave the machine's
/// registers, and a single one waits for each of its steps.
///
/// No step has a denormal result. The sum of a product and a coefficient `c` of at least 2^-60 is 0, or else
/// at least `2^-50 c`: if the product is smaller than half of `c`, the sum is at least that half. If not, the
/// product is a multiple of `2^-48 c`, because its factors have 24 bits each and only one of them can be
/// denormal, and `c` is a multiple of `2^-23 c` rounded down to a power of two. So only ties are looked for.
///
/// The sums of numbers that GELU has limited are exact in f64, as a test shows, and one of them is a tie,
/// which is then rounded right. Those numbers would otherwise be computed again each time.
#[inline(always)]
pub(super) fn horner<const N: usize>(zero: usize, coefficients: &[f32; N], x: Registers) -> Registers {
    let (mut out, mut doubts) = (x, Doubts::new());
    for pair in out.as_chunks_mut::<2>().0 {
        let wide = pair.map(|x| [wide_low(x), wide_high(x)]);
        let mut rounded = [[coefficient(zero, coefficients, N - 1); 2]; 2];
        let mut own = [Doubts::new(), Doubts::new()];
        for i in (0..N - 1).rev() {
            let c = wide_low(coefficient(zero, coefficients, i));
            for ((rounded, x), own) in rounded.iter_mut().zip(wide).zip(&mut own) {
                let low = f64x2_add(f64x2_mul(wide_low(rounded[0]), x[0]), c);
                let high = f64x2_add(f64x2_mul(wide_low(rounded[1]), x[1]), c);
                own.see_ties(low, high);
                *rounded = [f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high)];
            }
        }
        for ((x, rounded), own) in pair.iter_mut().zip(rounded).zip(own) {
            let limited = f32x4_eq(*x, f32x4_splat(GELU_LIMIT));
            doubts.ties = i32x4_min(doubts.ties, v128_andnot(own.ties, limited));
            *x = i32x4_shuffle::<0, 1, 4, 5>(rounded[0], rounded[1]);
        }
    }
    if doubts.any() { horner_rounded_to_odd(coefficients, x) } else { out }
}

#[cold]
#[inline(never)]
fn horner_rounded_to_odd(coefficients: &[f32], x: Registers) -> Registers {
    let mut steps = coefficients.iter().rev().map(|&c| [f32x4_splat(c); 4]);
    let first = steps.next().unwrap_or([f32x4_splat(0.0); 4]);
    steps.fold(first, |p, c| fma_rounded_to_odd(p, x, c))
}

/// The conversion saturates and turns NaN into 0, so NaN and numbers that are too large have to be changed to
/// `i32::MIN`.
#[inline(always)]
pub(super) fn to_int(a: v128) -> v128 {
    let q = i32x4_trunc_sat_f32x4(f32x4_nearest(a));
    v128_bitselect(q, i32x4_splat(i32::MIN), f32x4_lt(a, f32x4_splat(2_147_483_648.0)))
}

/// Computes [`super::Simd::levels`] by a product and a sum in f32, with one rounding too many, unless that
/// could change the nearest integer.
///
/// Let `t` be the rounded product, `v` the rounded sum and `e` the exact one rounded once. They differ by at
/// most half a step of `t`, `v` and `e` together, so by less than `2^-24 (|t| + 3 |v|)`. With `v` up to 600,
/// which is beyond any number of the row's range, and `|t| <= |v| + |shift|`, that is less than the error
/// that `limit` allows for. If `v` is closer to its nearest integer than `limit`, then no number halfway
/// between integers lies between `v` and `e`, and both round to the same integer.
///
/// Otherwise the result is that of [`to_int`] and [`fma`]. This is so for NaN and infinity, because their
/// distance is NaN, and for all numbers if `shift` is above 2^20, because `limit` is negative then. Numbers
/// below 0 count as 0, and `e` is then below 1/2, too.
#[inline(always)]
pub(super) fn levels(zero: usize, x: Registers, inverse: Registers, shift: Registers) -> Registers {
    let (inverse, shift) = (inverse[0], shift[0]);
    let (rounder, bits) = (f32x4_splat(ROUNDER), i32x4_splat(ROUNDER.to_bits() as i32));
    let error = f32x4_mul(f32x4_add(f32x4_abs(shift), f32x4_splat(1024.0)), f32x4_splat(0.5 / 1_048_576.0));
    let limit = f32x4_sub(f32x4_splat(0.5), error);
    let (mut out, mut sure) = (x, i32x4_splat(-1));
    for x in &mut out {
        // `pmax` is NaN if its first operand is.
        let v = pmax(zero, f32x4_add(f32x4_mul(*x, inverse), shift), f32x4_splat(0.0));
        let rounded = f32x4_add(v, rounder);
        let distance = f32x4_abs(f32x4_sub(v, f32x4_sub(rounded, rounder)));
        sure = v128_and(sure, f32x4_lt(distance, limit));
        *x = i32x4_sub(rounded, bits);
    }
    if i32x4_all_true(sure) { out } else { levels_rounded_to_odd(x, [inverse; 4], [shift; 4]) }
}

#[cold]
#[inline(never)]
fn levels_rounded_to_odd(x: Registers, inverse: Registers, shift: Registers) -> Registers {
    each!(to_int, fma_rounded_to_odd(x, inverse, shift))
}
