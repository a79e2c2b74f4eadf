//! The vector machine that every kernel is written for: sixteen lanes of f32 or i32, for registers of any
//! width.
//!
//! A kernel body is generic over [`Simd`] and instantiated once per instruction set. Results have the same
//! bits on all of them, because all have sixteen lanes and IEEE 754 defines the rounding of every operation.
//!
//! A value of a type that implements [`Simd`] is a proof token: only detection ([`super::isa`]) gives it out,
//! so its methods are safe to call. They are `#[inline(always)]` and become single instructions inside a
//! function that enables the features. Closures would not be inlined there, so kernel bodies have none.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_feature = "simd128")]
mod wasm;

#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
use std::mem::MaybeUninit;

use super::aligned::Line;
#[cfg(target_arch = "aarch64")]
pub(super) use neon::{sdot, usmmla};

/// Lanes of every vector.
pub(super) const LANES: usize = 16;

/// Operations on sixteen lanes of f32 and i32.
///
/// Comparisons follow SSE: `max(a, b)` is `if a > b { a } else { b }`, so the result is `b` if either operand
/// is NaN.
#[allow(clippy::wrong_self_convention, reason = "`self` is the proof token, not what is converted")]
pub(super) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;

    /// Whether the epilogues of BERT's linears have code of their own on whole panels. Without it, they are
    /// computed by the code for all epilogues and any columns, which gives the same bits.
    const PANELS: bool = true;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn store(self, x: Self::F, to: &mut [f32; LANES]);
    fn load_int(self, x: &[i32; LANES]) -> Self::I;
    fn store_int(self, x: Self::I, to: &mut [i32; LANES]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `b`.
    fn copy_sign(self, a: Self::F, b: Self::F) -> Self::F;
    /// `x` where `a >= b`, and 0 elsewhere.
    fn at_least(self, a: Self::F, b: Self::F, x: Self::F) -> Self::F;
    /// `a` in the first `n` lanes, `b` in the others.
    fn head(self, n: usize, a: Self::F, b: Self::F) -> Self::F;
    /// Rounds half to even. NaN and numbers beyond i32 become `i32::MIN`.
    fn to_int(self, a: Self::F) -> Self::I;
    /// Converts to f32, rounding half to even.
    fn to_float(self, a: Self::I) -> Self::F;
    /// The same bits as f32.
    fn from_bits(self, a: Self::I) -> Self::F;
    /// The same bits as i32.
    fn to_bits(self, a: Self::F) -> Self::I;
    /// `a + b`, wrapping around.
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a << 23`, which moves an integer to the exponent field.
    fn exponent(self, a: Self::I) -> Self::I;
    /// The low 16 bits of each lane as the upper half of an f32: the bf16 with even index of 32.
    #[inline(always)]
    fn low_halves(self, a: Self::I) -> Self::F {
        let mut lanes = [0; LANES];
        self.store_int(a, &mut lanes);
        for lane in &mut lanes {
            *lane <<= 16;
        }
        self.from_bits(self.load_int(&lanes))
    }

    /// The high 16 bits of each lane as the upper half of an f32: the bf16 with odd index of 32.
    #[inline(always)]
    fn high_halves(self, a: Self::I) -> Self::F {
        let mut lanes = [0; LANES];
        self.store_int(a, &mut lanes);
        for lane in &mut lanes {
            *lane &= -0x1_0000;
        }
        self.from_bits(self.load_int(&lanes))
    }

    /// Narrows four vectors to 64 bytes, in order, saturating to 0..=255.
    fn narrow(self, q: [Self::I; 4], to: &mut [u8; 64]);
    /// Joins the low bytes of four vectors: byte `i` of each lane comes from `q[i]`.
    fn join(self, q: [Self::I; 4], to: &mut [i8; 64]);
    /// Prefetches a line into the L2 cache.
    fn prefetch(self, line: &Line<[u8; 64]>);
    /// Adds the lanes along a fixed tree: `i` and `i + 8`, then lanes 4, 2 and 1 apart.
    fn sum(self, a: Self::F) -> f32;

    /// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule, where each step is an [`Simd::fma`]. No coefficient
    /// is 0 or smaller than 2^-60.
    #[inline(always)]
    fn horner<const N: usize>(self, coefficients: &[f32; N], x: Self::F) -> Self::F {
        let mut p = self.splat(coefficients[N - 1]);
        for &c in coefficients[..N - 1].iter().rev() {
            p = self.fma(p, x, self.splat(c));
        }
        p
    }

    /// Integers of which [`Simd::narrow`] makes the same bytes as of `to_int(fma(x, inverse, shift))`. All
    /// lanes of `inverse` are equal, and those of `shift`. They come from the range of a row, and `x` is a
    /// part of that row.
    #[inline(always)]
    fn levels(self, x: Self::F, inverse: Self::F, shift: Self::F) -> Self::I {
        self.to_int(self.fma(x, inverse, shift))
    }

    /// The same as [`Simd::to_int`] for numbers of a magnitude below 2^22.
    #[inline(always)]
    fn small_to_int(self, a: Self::F) -> Self::I {
        self.to_int(a)
    }

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }

    /// Loads up to sixteen values. The other lanes are 0.
    #[inline(always)]
    fn load_head(self, x: &[f32]) -> Self::F {
        let mut lanes = [0.0; LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// Stores the first `to.len()` lanes.
    #[inline(always)]
    fn store_head(self, a: Self::F, to: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// The largest lane. No lane may be NaN.
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m })
    }

    /// The smallest lane. No lane may be NaN.
    #[inline(always)]
    fn smallest(self, a: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(a, &mut lanes);
        lanes.into_iter().fold(f32::INFINITY, |m, x| if x < m { x } else { m })
    }

    /// The [`Simd::sum`] of each vector, in the lane of the vector's index.
    #[inline(always)]
    fn sum_each(self, x: [Self::F; LANES]) -> Self::F {
        let mut lanes = [0.0; LANES];
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = self.sum(x);
        }
        self.load(&lanes)
    }

    /// The [`Simd::largest`] of each vector, in the lane of the vector's index.
    #[inline(always)]
    fn largest_each(self, x: [Self::F; LANES]) -> Self::F {
        let mut lanes = [0.0; LANES];
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = self.largest(x);
        }
        self.load(&lanes)
    }

    /// The [`Simd::smallest`] of each vector, in the lane of the vector's index.
    #[inline(always)]
    fn smallest_each(self, x: [Self::F; LANES]) -> Self::F {
        let mut lanes = [0.0; LANES];
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = self.smallest(x);
        }
        self.load(&lanes)
    }
}

/// The multiply-accumulate operations and tile sizes. They differ between instruction sets that share their
/// f32 operations.
pub(super) trait Dot: Simd {
    /// Four activations in every lane, or two that were widened.
    type A: Copy;
    /// Four weights of each of sixteen columns, or two that were widened.
    type B: Copy;

    /// Inputs that [`Dot::dot`] multiplies: four, or two that were widened.
    const INPUTS: usize = 4;

    /// Inputs that [`Dot::fastest_dot`] multiplies.
    const FASTEST_INPUTS: usize = Self::INPUTS;

    /// Half of the rows of a group in a small linear. The results of a group stay in the L1 cache, and it
    /// reads each panel of the weights once.
    const GROUP: usize;
    /// Most rows that the driver multiplies at a time in int8.
    const ROWS_I8: usize;
    /// Rows of the int8 register tile.
    const REGISTER_ROWS_I8: usize = Self::ROWS_I8;
    /// Sixteen-column strips of the int8 register tile.
    const STRIPS_I8: usize;
    /// Rows of the f32 register tile.
    const ROWS_F32: usize;
    /// Sixteen-column strips of the f32 register tile.
    const STRIPS_F32: usize;

    fn zero_int(self) -> Self::I;

    /// # Safety
    /// Four bytes can be read at `a`.
    unsafe fn broadcast(self, a: *const u8) -> Self::A;

    /// # Safety
    /// 64 bytes can be read at `b`.
    unsafe fn weights(self, b: *const i8) -> Self::B;

    /// `acc[j] + sum of a[i] * b[j][i]` for all `i` below [`Dot::INPUTS`], exact.
    fn dot(self, acc: Self::I, a: Self::A, b: Self::B) -> Self::I;

    /// The same as [`Dot::dot`] without the part that tiles do once for all their rows, or as many products
    /// for [`Dot::FASTEST_INPUTS`] inputs in another order. The measurement of the peak uses it.
    #[inline(always)]
    fn fastest_dot(self, acc: Self::I, a: Self::A, b: Self::B) -> Self::I {
        self.dot(acc, a, b)
    }
}

/// Instruction sets whose [`Dot`] multiplies numbers of 16 bits.
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
pub(super) trait Widen: Dot {
    /// Widens a line of weights and writes all of `to`: its first line has weights 0 and 2 of each column, its
    /// second line 1 and 3.
    fn widen(self, line: &[u8; 64], to: &mut MaybeUninit<[Line<[u8; 64]>; 2]>);
}
