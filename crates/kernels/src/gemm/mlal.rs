//! The int8 tile on NEON without dot products: three rows by eight columns. The sums are exact, as on all
//! tiers.
//!
//! `smull` and `smlal` multiply eight signed bytes each and add two products in 16 bits. `sadalp` adds pairs
//! of these sums to sums of 32 bits. That is 16 products in three instructions. Bytes that were widened to 16
//! bits before they were multiplied took eight.
//!
//! The bytes are signed, so 128 is subtracted from the activations. This leaves out 128 times the sum of each
//! column's weights, which is added at the end. Two products fit 16 bits unless both are -128 times -128, so
//! weights of -128 take a path that adds one product at a time.

use std::arch::aarch64::*;

use super::fits;
use super::products::F32;
use super::tile::{Registers, RowSums, Strips, Sums, Tiles, bytes, compiled_tile};
use crate::aligned::Line;
use crate::isa::{Neon, with_features};
use crate::simd::Dot;

/// Rows of a register tile. Twelve sums, six registers of activations, four of weights and four of products
/// use 26 of 32 registers. With four rows, the compiler moved a quarter of the sums back and forth.
const ROWS: usize = Neon::REGISTER_ROWS_I8;

/// Lines whose weights of one column, two by two, can be added in 16 bits: each adds at most 256.
const LINES_IN_16_BITS: usize = 127;

impl Tiles for Neon {
    #[inline(always)]
    fn dot_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        _registers: &mut Registers,
    ) {
        // SAFETY: `self` proves the feature.
        #[allow(unused_unsafe, reason = "NEON is part of most AArch64 targets")]
        unsafe {
            dot_tile(rows, x, weights, sums)
        }
    }

    #[inline(always)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
        with_features!(Neon, compiled_tile!(F32(self), F32<Neon>, rows, bytes(x), weights.bytes(), sums));
    }
}

/// The lines of a strip: the first ones, the lines from one to the next, and their number.
type Lines<'a> = (&'a [Line<[i8; 64]>], usize, usize);

/// The same as [`super::tile::tile`], on int8.
///
/// # Panics
/// If `x` or `lines` is too short.
#[target_feature(enable = "neon")]
#[inline(never)]
fn dot_tile(rows: usize, (x, stride): (&[u8], usize), weights: Strips<'_, [i8; 64]>, sums: &mut Sums) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= Neon::ROWS_I8);
    assert!(fits(x.len(), rows, stride, 4 * depth));
    for strip in 0..weights.count {
        let lines = (weights.from(strip), weights.step, depth);
        let (column_sums, least) = weight_sums(lines);
        for (part, sums) in sums.0[..rows].chunks_mut(ROWS).enumerate() {
            let x = x.as_ptr().wrapping_add(part * ROWS * stride);
            macro_rules! rows {
                ($($m:literal)*) => {
                    match (sums.len(), least > i8::MIN) {
                        // SAFETY: the assertions above found the rows long enough, and `check` the lines.
                        $(
                            ($m, true) => unsafe {
                                dot_rows::<$m, true>((x, stride), lines, &column_sums, strip, sums)
                            },
                            ($m, false) => unsafe {
                                dot_rows::<$m, false>((x, stride), lines, &column_sums, strip, sums)
                            },
                        )*
                        _ => {}
                    }
                };
            }
            rows!(1 2 3);
        }
    }
}

/// Returns 128 times the sum of the weights of each column, and the least weight of all.
#[target_feature(enable = "neon")]
#[inline]
fn weight_sums((lines, step, depth): Lines<'_>) -> ([int32x4_t; 4], i8) {
    let mut sums = [vdupq_n_s32(0); 4];
    let mut least = vdupq_n_s8(0);
    for first in (0..depth).step_by(LINES_IN_16_BITS) {
        let mut pairs = [vdupq_n_s16(0); 4];
        for line in first..depth.min(first + LINES_IN_16_BITS) {
            for (pairs, columns) in pairs.iter_mut().zip(lines[line * step].0.as_chunks::<16>().0) {
                // SAFETY: sixteen bytes are there.
                let columns = unsafe { vld1q_s8(columns.as_ptr()) };
                *pairs = vpadalq_s8(*pairs, columns);
                least = vminq_s8(least, columns);
            }
        }
        for (sum, pairs) in sums.iter_mut().zip(pairs) {
            *sum = vaddq_s32(*sum, vpaddlq_s16(pairs));
        }
    }
    for sum in &mut sums {
        *sum = vshlq_n_s32::<7>(*sum);
    }
    (sums, vminvq_s8(least))
}

/// Multiplies `M` rows by `depth` lines, `step` lines apart. Two products are added in 16 bits if `TWO` is
/// true.
///
/// # Safety
/// `M` rows of `4 * depth` bytes, `stride` apart, can be read at `x`, and `lines` has the lines.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn dot_rows<const M: usize, const TWO: bool>(
    (x, stride): (*const u8, usize),
    (lines, step, depth): Lines<'_>,
    column_sums: &[int32x4_t; 4],
    strip: usize,
    sums: &mut [RowSums],
) {
    let center = vdupq_n_s8(i8::MIN);
    for half in 0..2 {
        // The sums of each row, of two columns a register. Each has half of the inputs of a column in a lane.
        let mut acc = [[vdupq_n_s32(0); 4]; M];
        // SAFETY: the caller promises `depth` lines.
        let weights = |line: usize| unsafe {
            let columns = lines.as_ptr().add(line * step).cast::<i8>().add(32 * half);
            [vld1q_s8(columns), vld1q_s8(columns.add(16))]
        };
        // The activations of four lines are not loaded at once, because their registers would be too many.
        for k in 0..depth / 2 {
            let mut a = [[vdupq_n_s8(0); 2]; M];
            for (m, a) in a.iter_mut().enumerate() {
                // SAFETY: the caller promises `4 * depth` bytes of each row.
                let bytes = unsafe { vld1_u8(x.add(m * stride + 8 * k)) };
                let bytes = vreinterpret_s32_s8(veor_s8(vreinterpret_s8_u8(bytes), vget_low_s8(center)));
                let (first, second) = (vdupq_lane_s32::<0>(bytes), vdupq_lane_s32::<1>(bytes));
                *a = [vreinterpretq_s8_s32(first), vreinterpretq_s8_s32(second)];
            }
            multiply::<M, TWO>(&mut acc, [weights(2 * k), weights(2 * k + 1)], a);
        }
        if depth % 2 == 1 {
            let k = depth - 1;
            let mut a = [[vdupq_n_s8(0); 2]; M];
            for (m, a) in a.iter_mut().enumerate() {
                // SAFETY: the caller promises `4 * depth` bytes of each row.
                let four = unsafe { x.add(m * stride + 4 * k).cast::<u32>().read_unaligned() };
                a[0] = veorq_s8(vreinterpretq_s8_u32(vdupq_n_u32(four)), center);
            }
            multiply::<M, TWO>(&mut acc, [weights(k), [vdupq_n_s8(0); 2]], a);
        }
        for (acc, to) in acc.into_iter().zip(&mut *sums) {
            let columns = [vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3])];
            for (i, columns) in columns.into_iter().enumerate() {
                let to = &mut to[strip][8 * half + 4 * i..][..4];
                // SAFETY: four numbers are there.
                unsafe { vst1q_s32(to.as_mut_ptr(), vaddq_s32(columns, column_sums[2 * half + i])) };
            }
        }
    }
}

/// Adds the products of eight columns and of four inputs of each of two lines to the sums of each row.
#[target_feature(enable = "neon")]
#[inline]
fn multiply<const M: usize, const TWO: bool>(
    acc: &mut [[int32x4_t; 4]; M],
    [first, second]: [[int8x16_t; 2]; 2],
    a: [[int8x16_t; 2]; M],
) {
    for i in 0..2 {
        let (first, second) = (first[i], second[i]);
        for (acc, a) in acc.iter_mut().zip(a) {
            let low = vmull_s8(vget_low_s8(first), vget_low_s8(a[0]));
            let high = vmull_high_s8(first, a[0]);
            if TWO {
                let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(a[1]));
                acc[2 * i] = vpadalq_s16(acc[2 * i], low);
                acc[2 * i + 1] = vpadalq_s16(acc[2 * i + 1], vmlal_high_s8(high, second, a[1]));
            } else {
                let low_2 = vmull_s8(vget_low_s8(second), vget_low_s8(a[1]));
                let high_2 = vmull_high_s8(second, a[1]);
                acc[2 * i] = vpadalq_s16(vpadalq_s16(acc[2 * i], low), low_2);
                acc[2 * i + 1] = vpadalq_s16(vpadalq_s16(acc[2 * i + 1], high), high_2);
            }
        }
    }
}
