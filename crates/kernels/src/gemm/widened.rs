//! The int8 tile on x86-64 without VNNI. The bytes are widened to i16 before they are multiplied, because
//! `vpmaddubsw`, which multiplies bytes, saturates.
//!
//! Up to 32 rows and four strips are widened into memory on the stack that fits the L1 cache, a chunk of the
//! inputs at a time. The register tiles then read numbers of 16 bits, and the cost of widening is shared: a
//! line of weights is widened once for 32 rows, and a row once for 64 columns.

use std::mem::MaybeUninit;

use super::PANEL_STRIPS;
use super::products::{F32, Int8};
use super::tile::{Registers, Strips, Sums, TILE_ROWS, Tiles, bytes, compiled_tile, next_rows, tile};
use crate::aligned::Line;
use crate::isa::{Avx2, Avx512, with_features};
use crate::simd::{LANES, Widen};

/// Lines of a strip that are widened at a time, with four inputs each. The widened weights of four strips
/// take 16 KiB and those of 32 rows 8 KiB.
const CHUNK: usize = 32;

/// Rows of a register tile.
const REGISTER_ROWS: usize = 6;

/// Bytes of a chunk of a widened row.
const ROW_BYTES: usize = 8 * CHUNK;

/// The widened numbers. Every four bytes of a row and every line became two.
#[repr(C, align(64))]
struct Widened {
    rows: [[u64; CHUNK]; TILE_ROWS],
    lines: [[[Line<[u8; 64]>; 2]; CHUNK]; PANEL_STRIPS],
}

/// Computes the same as [`tile`] does for bytes.
///
/// # Panics
/// If `x` or `weights` is too short.
#[inline(always)]
fn dot_tile<S: Widen>(
    s: S,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [i8; 64]>,
    sums: &mut Sums,
) {
    weights.check();
    assert!(rows <= TILE_ROWS);
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + 4 * weights.depth);
    if weights.depth == 0 {
        sums.0[..rows].fill([[0; LANES]; PANEL_STRIPS]);
    }
    let mut widened = MaybeUninit::<Widened>::uninit();
    // SAFETY: the fields are numbers, which may have any bits, and every number that is read below has been
    // written in the same round.
    let Widened { rows: wide_rows, lines: wide_lines } = unsafe { widened.assume_init_mut() };
    let mut part = [[[0; LANES]; PANEL_STRIPS]; REGISTER_ROWS];
    for first in (0..weights.depth).step_by(CHUNK) {
        let some = CHUNK.min(weights.depth - first);
        for (strip, to) in wide_lines[..weights.count].iter_mut().enumerate() {
            let lines = &weights.lines[strip * weights.stride + first..][..some];
            for (line, to) in lines.iter().zip(to) {
                s.widen(&line.0, to);
            }
        }
        for (row, to) in wide_rows[..rows].iter_mut().enumerate() {
            let (fours, _) = x[row * stride + 4 * first..][..4 * some].as_chunks::<4>();
            for (&four, to) in fours.iter().zip(to) {
                *to = widen_four(four);
            }
        }
        let lines = Strips {
            lines: wide_lines.as_flattened().as_flattened(),
            stride: 2 * CHUNK,
            depth: 2 * some,
            count: weights.count,
        };
        let mut row = 0;
        while row < rows {
            let few = next_rows(rows - row, REGISTER_ROWS);
            let x = bytemuck::cast_slice(wide_rows[row..].as_flattened());
            let sums = &mut sums.0[row..row + few];
            if first == 0 {
                tile(Int8(s), few, (x, ROW_BYTES), lines, sums);
            } else {
                tile(Int8(s), few, (x, ROW_BYTES), lines, &mut part);
                for (part, sums) in part.iter().zip(sums) {
                    for (part, sum) in part[..weights.count].iter().zip(sums) {
                        s.store_int(s.add_int(s.load_int(part), s.load_int(sum)), sum);
                    }
                }
            }
            row += few;
        }
    }
}

/// Widens four bytes to i16, in the order of [`Widen::widen`]: bytes 0 and 2, then bytes 1 and 3.
#[inline(always)]
fn widen_four(four: [u8; 4]) -> u64 {
    let four = u64::from(u32::from_le_bytes(four));
    (four | four << 24) & 0x00FF_00FF_00FF_00FF
}

macro_rules! tiles {
    ([$($feature:tt)*] $token:ident) => {
        impl Tiles for $token {
            #[inline(always)]
            fn dot_tile(
                self,
                rows: usize,
                x: (&[u8], usize),
                weights: Strips<'_, [i8; 64]>,
                sums: &mut Sums,
                _registers: &mut Registers,
            ) {
                $(#[target_feature(enable = $feature)])*
                #[inline(never)]
                fn run(
                    s: $token,
                    rows: usize,
                    x: (&[u8], usize),
                    weights: Strips<'_, [i8; 64]>,
                    sums: &mut Sums,
                ) {
                    dot_tile(s, rows, x, weights, sums);
                }
                // SAFETY: `self` proves the features.
                unsafe { run(self, rows, x, weights, sums) }
            }

            #[inline(always)]
            fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
                compiled_tile!([$($feature)*] F32(self), F32<$token>, rows, bytes(x), weights.bytes(), sums);
            }
        }
    };
}

with_features!(Avx2, tiles!(Avx2));
with_features!(Avx512, tiles!(Avx512));

#[cfg(test)]
mod tests {
    use super::widen_four;

    #[test]
    fn even_bytes_come_before_odd_ones() {
        assert_eq!(widen_four([1, 2, 3, 255]), 0x00FF_0002_0003_0001);
    }
}
