//! The int8 tile on simd128: four rows by sixteen columns. It computes eight columns at a time, because most
//! runtimes have sixteen registers for sums, weights and activations.

use std::arch::wasm32::*;

use super::products::F32;
use super::tile::{Registers, Strips, Sums, Tiles, bytes, tile};
use crate::aligned::Line;
use crate::isa::WasmSimd128;
use crate::simd::Dot;

impl Tiles for WasmSimd128 {
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
        assert!(rows <= Self::ROWS_I8);
        assert!(rows == 0 || x.len() >= (rows - 1) * stride + 4 * depth);
        for (strip, half) in (0..weights.count).flat_map(|strip| [(strip, 0), (strip, 1)]) {
            let lines = weights.from(strip).iter().step_by(weights.step).take(depth);
            // SAFETY: the assertions above found the rows long enough.
            unsafe {
                match rows {
                    4 => dot_rows::<4, _>(self, x.as_ptr(), stride, lines, (strip, half), sums),
                    3 => dot_rows::<3, _>(self, x.as_ptr(), stride, lines, (strip, half), sums),
                    2 => dot_rows::<2, _>(self, x.as_ptr(), stride, lines, (strip, half), sums),
                    1 => dot_rows::<1, _>(self, x.as_ptr(), stride, lines, (strip, half), sums),
                    _ => {}
                }
            }
        }
    }

    #[inline(never)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
        tile(F32(self), rows, bytes(x), weights.bytes(), &mut sums.0);
    }
}

/// # Safety
/// `M` rows of four bytes for each line that `lines` yields, `stride` apart, can be read at `x`.
#[inline]
unsafe fn dot_rows<'a, const M: usize, L: Iterator<Item = &'a Line<[i8; 64]>>>(
    s: WasmSimd128,
    x: *const u8,
    stride: usize,
    lines: L,
    (strip, half): (usize, usize),
    sums: &mut Sums,
) {
    let mut acc = [[i32x4_splat(0); 2]; M];
    for (k, line) in lines.enumerate() {
        let (mut even, mut odd) = ([i32x4_splat(0); 2], [i32x4_splat(0); 2]);
        let columns = line.0.as_chunks::<16>().0.as_chunks::<2>().0[half];
        for (b, (even, odd)) in columns.iter().zip(even.iter_mut().zip(&mut odd)) {
            // SAFETY: sixteen bytes are there.
            let b = unsafe { v128_load(b.as_ptr().cast()) };
            (*even, *odd) = (i16x8_shr(i16x8_shl(b, 8), 8), i16x8_shr(b, 8));
        }
        for (m, acc) in acc.iter_mut().enumerate() {
            // SAFETY: the caller promises four bytes of each row for each line.
            let a = unsafe { s.broadcast(x.add(m * stride + 4 * k)) };
            for (acc, (even, odd)) in acc.iter_mut().zip(even.into_iter().zip(odd)) {
                let both = i32x4_add(i32x4_dot_i16x8(a[0], even), i32x4_dot_i16x8(a[1], odd));
                *acc = i32x4_add(*acc, both);
            }
        }
    }
    for (acc, to) in acc.into_iter().zip(&mut sums.0) {
        for (acc, to) in acc.into_iter().zip(to[strip].as_chunks_mut::<8>().0[half].as_chunks_mut::<4>().0) {
            // SAFETY: four numbers are there.
            unsafe { v128_store(to.as_mut_ptr().cast(), acc) };
        }
    }
}
