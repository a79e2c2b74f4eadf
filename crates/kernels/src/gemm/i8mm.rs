//! The int8 tile on NEON's products of matrices: eight rows by sixteen columns. The sums are exact, as on all
//! tiers.
//!
//! `usmmla` multiplies two rows of eight activations by two columns of eight weights. These are 32 products,
//! twice as many as a dot product instruction has. A line of packed weights has four inputs of each column,
//! so two lines are interleaved by groups of four bytes for it.

use std::arch::aarch64::*;

use super::fits;
use super::products::F32;
use super::tile::{Registers, Strips, Sums, Tiles, bytes, compiled_tile};
use crate::aligned::Line;
use crate::isa::{NeonI8mm, with_features};
use crate::simd::{Dot, usmmla};

/// Pairs of rows of a tile.
const PAIRS: usize = NeonI8mm::ROWS_I8 / 2;

/// The sums of each pair of rows and of two columns: row 0 times column 0, row 0 times column 1, row 1 times
/// column 0, row 1 times column 1.
type TwoColumns = [int32x4_t; PAIRS];

impl Tiles for NeonI8mm {
    #[inline(always)]
    fn dot_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        _registers: &mut Registers,
    ) {
        // SAFETY: `self` proves the features.
        unsafe { dot_tile(rows, x, weights, sums) }
    }

    #[inline(always)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
        with_features!(
            NeonI8mm,
            compiled_tile!(F32(self), F32<NeonI8mm>, rows, bytes(x), weights.bytes(), sums)
        );
    }
}

/// The same as [`super::tile::tile`], on int8.
///
/// # Panics
/// If `x` or `lines` is too short.
#[target_feature(enable = "neon,i8mm")]
#[inline(never)]
fn dot_tile(rows: usize, (x, stride): (&[u8], usize), weights: Strips<'_, [i8; 64]>, sums: &mut Sums) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= NeonI8mm::ROWS_I8);
    assert!(fits(x.len(), rows, stride, 4 * depth));
    if rows == 0 {
        return;
    }
    for strip in 0..weights.count {
        let lines = (weights.from(strip), weights.step, depth);
        // SAFETY: the assertions above found the rows long enough.
        unsafe {
            dot_pairs::<0>((x.as_ptr(), stride, rows), lines, strip, sums);
            dot_pairs::<1>((x.as_ptr(), stride, rows), lines, strip, sums);
        }
    }
}

/// Multiplies `rows` rows by `depth` lines, `step` lines apart, for the first or second eight columns. Of
/// fewer rows than a tile has, the last one is multiplied more than once.
///
/// The sums of sixteen columns would not fit the registers. Those of eight rows and eight columns take 16
/// (docs/kernels.md counts the instructions).
///
/// # Safety
/// `rows` rows of `4 * depth` bytes, `stride` apart, can be read at `x`, and `rows` is from 1 to `2 * PAIRS`.
#[target_feature(enable = "neon,i8mm")]
#[inline]
unsafe fn dot_pairs<const HALF: usize>(
    (x, stride, rows): (*const u8, usize, usize),
    (lines, step, depth): (&[Line<[i8; 64]>], usize, usize),
    strip: usize,
    sums: &mut Sums,
) {
    const NO_WEIGHTS: [[i8; 16]; 2] = [[0; 16]; 2];
    // For each four columns, the sums of columns 0 and 1, and of 2 and 3.
    let mut acc = [[[vdupq_n_s32(0); PAIRS]; 2]; 2];
    let mut a = [vdupq_n_u8(0); PAIRS];
    let place = |row: usize| row.min(rows - 1) * stride;
    let places: [_; PAIRS] = std::array::from_fn(|pair| [place(2 * pair), place(2 * pair + 1)]);
    let weights = |line: usize| &lines[line * step].0.as_chunks::<16>().0[2 * HALF..][..2];
    for k in 0..depth / 2 {
        for (a, [first, second]) in a.iter_mut().zip(places) {
            // SAFETY: the caller promises `4 * depth` bytes of each row.
            *a = unsafe { vcombine_u8(vld1_u8(x.add(first + 8 * k)), vld1_u8(x.add(second + 8 * k))) };
        }
        multiply(&mut acc, a, [weights(2 * k), weights(2 * k + 1)]);
    }
    if depth % 2 == 1 {
        let k = depth - 1;
        // SAFETY: as above.
        let four = |row: usize| unsafe { u64::from(x.add(row + 4 * k).cast::<u32>().read_unaligned()) };
        for (a, [first, second]) in a.iter_mut().zip(places) {
            *a = vcombine_u8(vcreate_u8(four(first)), vcreate_u8(four(second)));
        }
        multiply(&mut acc, a, [weights(k), &NO_WEIGHTS]);
    }
    // The indices are constants once these loops are unrolled. With others, the sums would be in memory.
    for pair in 0..PAIRS {
        for (i, [left, right]) in acc.iter().enumerate() {
            let [left, right] = [vreinterpretq_s64_s32(left[pair]), vreinterpretq_s64_s32(right[pair])];
            let of_rows = [(2 * pair, vzip1q_s64(left, right)), (2 * pair + 1, vzip2q_s64(left, right))];
            for (row, sum) in of_rows {
                if row < rows {
                    let to = &mut sums.0[row][strip][8 * HALF + 4 * i..][..4];
                    // SAFETY: four numbers are there.
                    unsafe { vst1q_s32(to.as_mut_ptr(), vreinterpretq_s32_s64(sum)) };
                }
            }
        }
    }
}

/// Adds the products of eight activations of each row and eight weights of each column, of which each line
/// has four.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn multiply(acc: &mut [[TwoColumns; 2]; 2], a: [uint8x16_t; PAIRS], lines: [&[[i8; 16]]; 2]) {
    for (sums, (first, second)) in acc.iter_mut().zip(lines[0].iter().zip(lines[1])) {
        // SAFETY: sixteen bytes are there.
        let (first, second) =
            unsafe { (vld1q_s32(first.as_ptr().cast()), vld1q_s32(second.as_ptr().cast())) };
        let columns = [vzip1q_s32(first, second), vzip2q_s32(first, second)];
        for (sums, columns) in sums.iter_mut().zip(columns) {
            for (sums, rows) in sums.iter_mut().zip(a) {
                *sums = usmmla(*sums, rows, vreinterpretq_s8_s32(columns));
            }
        }
    }
}
