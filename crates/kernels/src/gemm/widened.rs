//! The int8 tile on x86-64 without VNNI and on WebAssembly without exact dot products. The bytes are widened
//! to i16 before they are multiplied, because `vpmaddubsw`, which multiplies bytes, saturates.
//!
//! Up to 32 rows and four strips are widened into memory on the stack that fits the L1 cache, a chunk of the
//! inputs at a time. The register tiles then read numbers of 16 bits, and the cost of widening is shared: a
//! line of weights is widened once for 32 rows, and a row once for 64 columns.

use std::mem::MaybeUninit;

use super::products::Int8;
use super::tile::{self, RowSums, Strips, TILE_ROWS, next_rows};
use super::{PANEL_STRIPS, fits};
use crate::aligned::Line;
use crate::simd::{LANES, Widen};

/// Lines of a strip that are widened at a time, with four inputs each. The widened weights of four strips
/// take 16 KiB and those of 32 rows 8 KiB.
const CHUNK: usize = 32;

/// Most rows of a register tile.
const REGISTER_ROWS: usize = 6;

/// Computes the same as [`tile::tile`] does for bytes.
///
/// # Panics
/// If `x` or `weights` is too short.
#[inline(always)]
pub(super) fn tile<S: Widen>(
    Int8(s): Int8<S>,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [u8; 64]>,
    sums: &mut [RowSums],
) {
    const { assert!(S::REGISTER_ROWS_I8 <= REGISTER_ROWS) };
    weights.check();
    assert!(rows <= TILE_ROWS);
    assert!(fits(x.len(), rows, stride, 4 * weights.depth));
    if weights.depth == 0 {
        sums[..rows].fill([[0; LANES]; PANEL_STRIPS]);
    }
    // Clearing this memory for every tile would take 3 % of the time of a linear with 128 inputs.
    let mut row_space = [MaybeUninit::<u64>::uninit(); CHUNK * TILE_ROWS];
    let mut line_space = [MaybeUninit::<[Line<[u8; 64]>; 2]>::uninit(); CHUNK * PANEL_STRIPS];
    let mut part = [[[0; LANES]; PANEL_STRIPS]; REGISTER_ROWS];
    for first in (0..weights.depth).step_by(CHUNK) {
        let some = CHUNK.min(weights.depth - first);
        let wide_lines = &mut line_space[..weights.count * some];
        for (strip, to) in wide_lines.chunks_exact_mut(some).enumerate() {
            let lines = &weights.from(strip)[first * weights.step..];
            for (line, to) in lines.iter().step_by(weights.step).zip(to) {
                s.widen(&line.0, to);
            }
        }
        let wide_rows = &mut row_space[..rows * some];
        for (row, to) in wide_rows.chunks_exact_mut(some).enumerate() {
            let (fours, _) = x[row * stride + 4 * first..][..4 * some].as_chunks::<4>();
            for (&four, to) in fours.iter().zip(to) {
                to.write(widen_four(four));
            }
        }
        // SAFETY: the loops above wrote every element of both slices: `some` lines of each strip, because
        // `check` found `depth` of them, and `some` numbers of each row.
        let (wide_lines, wide_rows) = unsafe { (wide_lines.assume_init_ref(), wide_rows.assume_init_ref()) };
        let lines = Strips {
            lines: wide_lines.as_flattened(),
            apart: 2 * some,
            step: 1,
            depth: 2 * some,
            count: weights.count,
        };
        let mut row = 0;
        while row < rows {
            let few = next_rows(rows - row, S::REGISTER_ROWS_I8);
            let x = (bytemuck::cast_slice(&wide_rows[row * some..]), size_of::<u64>() * some);
            let sums = &mut sums[row..row + few];
            if first == 0 {
                tile::tile(Int8(s), few, x, lines, sums);
            } else {
                tile::tile(Int8(s), few, x, lines, &mut part);
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

#[cfg(test)]
mod tests {
    use super::widen_four;

    #[test]
    fn even_bytes_come_before_odd_ones() {
        assert_eq!(widen_four([1, 2, 3, 255]), 0x00FF_0002_0003_0001);
    }
}
