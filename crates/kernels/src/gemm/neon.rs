//! The int8 tile on NEON's dot product: four rows by sixteen columns, with sixteen inputs of each row in a
//! register. The sums are exact, as on all tiers.
//!
//! `sdot` multiplies signed bytes, so 128 is subtracted from the activations. This leaves out 128 times the
//! sum of each column's weights, which is summed beside the rows and added at the end.

use std::arch::aarch64::*;
use std::arch::asm;

use super::fits;
use super::products::F32;
use super::tile::{Registers, Strips, Sums, Tiles, bytes, compiled_tile};
use crate::aligned::Line;
use crate::isa::{NeonDot, with_features};
use crate::simd::{Dot, sdot};

/// [`sdot`] with one group of four bytes of `a` for all columns.
macro_rules! sdot_lane {
    ($acc:expr, $b:expr, $a:expr, $lane:literal) => {{
        let mut acc: int32x4_t = $acc;
        // SAFETY: the instruction reads and writes registers only, and the function around it enables the
        // feature.
        unsafe {
            asm!(
                concat!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[", $lane, "]"),
                inout(vreg) acc, in(vreg) $b, in(vreg) $a,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    }};
}

impl Tiles for NeonDot {
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
            NeonDot,
            compiled_tile!(F32(self), F32<NeonDot>, rows, bytes(x), weights.bytes(), sums)
        );
    }
}

/// The same as [`super::tile::tile`], on int8.
///
/// # Panics
/// If `x` or `lines` is too short.
#[target_feature(enable = "neon,dotprod")]
#[inline(never)]
fn dot_tile(rows: usize, (x, stride): (&[u8], usize), weights: Strips<'_, [i8; 64]>, sums: &mut Sums) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= NeonDot::ROWS_I8);
    assert!(fits(x.len(), rows, stride, 4 * depth));
    for strip in 0..weights.count {
        let lines = (weights.from(strip), weights.step, depth);
        // SAFETY: the assertions above found the rows long enough.
        unsafe {
            match rows {
                4 => dot_rows::<4>(x.as_ptr(), stride, lines, strip, sums),
                3 => dot_rows::<3>(x.as_ptr(), stride, lines, strip, sums),
                2 => dot_rows::<2>(x.as_ptr(), stride, lines, strip, sums),
                1 => dot_rows::<1>(x.as_ptr(), stride, lines, strip, sums),
                _ => {}
            }
        }
    }
}

/// Multiplies `M` rows by `depth` lines, `step` lines apart.
///
/// # Safety
/// `M` rows of `4 * depth` bytes, `stride` apart, can be read at `x`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn dot_rows<const M: usize>(
    x: *const u8,
    stride: usize,
    (lines, step, depth): (&[Line<[i8; 64]>], usize, usize),
    strip: usize,
    sums: &mut Sums,
) {
    let (center, ones) = (vdupq_n_s8(i8::MIN), vdupq_n_s8(1));
    let mut acc = [[vdupq_n_s32(0); 4]; M];
    let mut weight_sums = [vdupq_n_s32(0); 4];
    let mut a = [vdupq_n_s8(0); M];
    macro_rules! step {
        ($line:expr, $lane:literal) => {
            for (i, b) in $line.0.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: sixteen bytes are there.
                let b = unsafe { vld1q_s8(b.as_ptr()) };
                weight_sums[i] = sdot(weight_sums[i], b, ones);
                for (acc, a) in acc.iter_mut().zip(a) {
                    acc[i] = sdot_lane!(acc[i], b, a, $lane);
                }
            }
        };
    }
    let whole = depth / 4;
    for k in 0..whole {
        for (m, a) in a.iter_mut().enumerate() {
            // SAFETY: the caller promises `4 * depth` bytes of each row.
            let bytes = unsafe { vld1q_u8(x.add(m * stride + 16 * k)) };
            *a = veorq_s8(vreinterpretq_s8_u8(bytes), center);
        }
        step!(lines[4 * k * step], 0);
        step!(lines[(4 * k + 1) * step], 1);
        step!(lines[(4 * k + 2) * step], 2);
        step!(lines[(4 * k + 3) * step], 3);
    }
    for k in 4 * whole..depth {
        for (m, a) in a.iter_mut().enumerate() {
            // SAFETY: the caller promises `4 * depth` bytes of each row.
            let four = unsafe { x.add(m * stride + 4 * k).cast::<u32>().read_unaligned() };
            *a = veorq_s8(vreinterpretq_s8_u32(vdupq_n_u32(four)), center);
        }
        step!(lines[k * step], 0);
    }
    for (acc, to) in acc.into_iter().zip(&mut sums.0) {
        for ((acc, sum), to) in acc.into_iter().zip(weight_sums).zip(to[strip].as_chunks_mut::<4>().0) {
            // SAFETY: four numbers are there.
            unsafe { vst1q_s32(to.as_mut_ptr(), vaddq_s32(acc, vshlq_n_s32::<7>(sum))) };
        }
    }
}
