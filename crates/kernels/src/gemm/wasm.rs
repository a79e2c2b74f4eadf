//! The int8 tile on relaxed SIMD, if the runtime computes its dot products exactly: two rows by sixteen
//! columns, so that sums, weights and rows fit sixteen registers.
//!
//! Some runtimes take the bytes of a row for signed ones. There, 128 is subtracted from them, which leaves
//! out 128 times the sum of each column's weights. That is computed once for all rows of a tile.

use std::arch::wasm32::*;

use super::products::F32;
use super::tile::{Registers, RowSums, Strips, Sums, TILE_ROWS, Tiles, bytes, compiled_tile};
use super::{PANEL_STRIPS, fits};
use crate::aligned::Line;
use crate::isa::{WasmDot, with_features};
use crate::simd::LANES;

/// Lines of a strip that are multiplied by all rows before the next ones. Where strips take turns, their lines
/// are 256 bytes apart and share a quarter of the sets of the L1 cache, so a strip of more lines would not
/// stay there.
const CHUNK: usize = 96;

impl Tiles for WasmDot {
    #[inline(never)]
    fn dot_tile(
        self,
        rows: usize,
        (x, stride): (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        _registers: &mut Registers,
    ) {
        weights.check();
        let depth = weights.depth;
        assert!(rows <= TILE_ROWS);
        assert!(fits(x.len(), rows, stride, 4 * depth));
        let sums = &mut sums.0[..rows];
        if depth == 0 {
            sums.fill([[0; LANES]; PANEL_STRIPS]);
        }
        for first in (0..depth).step_by(CHUNK) {
            let some = CHUNK.min(depth - first);
            for strip in 0..weights.count {
                let tile = Part {
                    x: x.get(4 * first..).unwrap_or_default().as_ptr(),
                    stride,
                    lines: weights.from(strip)[first * weights.step..].as_ptr(),
                    step: weights.step,
                    depth: some,
                    strip,
                    is_first: first == 0,
                };
                // SAFETY: the assertions above found the rows and the lines long enough.
                unsafe {
                    if self.is_signed() { tile.multiply::<true>(sums) } else { tile.multiply::<false>(sums) }
                }
            }
        }
    }

    #[inline(always)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
        with_features!(
            WasmDot,
            compiled_tile!(F32(self), F32<WasmDot>, rows, bytes(x), weights.bytes(), sums)
        );
    }
}

/// Some lines of one strip, and the same inputs of rows.
struct Part {
    x: *const u8,
    stride: usize,
    lines: *const Line<[i8; 64]>,
    step: usize,
    depth: usize,
    strip: usize,
    /// Whether the sums begin here.
    is_first: bool,
}

impl Part {
    /// # Safety
    /// For each of the sums, a row of `4 * depth` bytes can be read at `x`, `stride` apart, and `depth` lines
    /// at `lines`, `step` apart.
    #[inline(always)]
    unsafe fn multiply<const SIGNED: bool>(&self, sums: &mut [RowSums]) {
        let mut start = [i32x4_splat(0); 4];
        if SIGNED {
            for k in 0..self.depth {
                // SAFETY: the caller promises the lines.
                let w = unsafe { self.weights(k) };
                for (start, w) in start.iter_mut().zip(w) {
                    *start = i32x4_relaxed_dot_i8x16_i7x16_add(w, i8x16_splat(1), *start);
                }
            }
            start = start.map(|sum| i32x4_shl(sum, 7));
        }
        let (pairs, last) = sums.as_chunks_mut::<2>();
        let mut row = self.x;
        for pair in pairs {
            // SAFETY: the caller promises the rows and lines.
            unsafe { self.rows::<2, SIGNED>(row, start, pair) };
            row = row.wrapping_add(2 * self.stride);
        }
        if let Some(last) = last.first_chunk_mut::<1>() {
            // SAFETY: the caller promises the rows and lines.
            unsafe { self.rows::<1, SIGNED>(row, start, last) };
        }
    }

    /// # Safety
    /// The same for the `M` rows from `x` on.
    #[inline(always)]
    unsafe fn rows<const M: usize, const SIGNED: bool>(
        &self,
        x: *const u8,
        start: [v128; 4],
        sums: &mut [RowSums; M],
    ) {
        let mut acc = [start; M];
        if !self.is_first {
            for (acc, sums) in acc.iter_mut().zip(&*sums) {
                for (acc, from) in acc.iter_mut().zip(sums[self.strip].as_chunks::<4>().0) {
                    // SAFETY: four numbers are there.
                    *acc = i32x4_add(*acc, unsafe { v128_load(from.as_ptr().cast()) });
                }
            }
        }
        for k in 0..self.depth {
            // SAFETY: the caller promises the lines.
            let w = unsafe { self.weights(k) };
            for (m, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the caller promises the rows.
                let mut four = unsafe { v128_load32_splat(x.add(m * self.stride + 4 * k).cast()) };
                if SIGNED {
                    four = v128_xor(four, i8x16_splat(i8::MIN));
                }
                for (acc, w) in acc.iter_mut().zip(w) {
                    *acc = i32x4_relaxed_dot_i8x16_i7x16_add(w, four, *acc);
                }
            }
        }
        for (acc, sums) in acc.into_iter().zip(sums) {
            for (acc, to) in acc.into_iter().zip(sums[self.strip].as_chunks_mut::<4>().0) {
                // SAFETY: four numbers are there.
                unsafe { v128_store(to.as_mut_ptr().cast(), acc) };
            }
        }
    }

    /// The line `k`.
    ///
    /// # Safety
    /// `k` is below `depth`, and the lines can be read.
    #[inline(always)]
    unsafe fn weights(&self, k: usize) -> [v128; 4] {
        // SAFETY: the caller's; a line has four registers.
        unsafe {
            let line = self.lines.add(k * self.step).cast::<v128>();
            [v128_load(line), v128_load(line.add(1)), v128_load(line.add(2)), v128_load(line.add(3))]
        }
    }
}
