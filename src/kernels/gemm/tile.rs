//! The register tiles: a few rows times a few strips, accumulated in registers and left in memory for the epilogue.
//!
//! Going through memory costs loads and stores that run beside the next tile's multiplications, and keeps one epilogue for
//! all tile sizes and instruction sets.

use super::PANEL_STRIPS;
use crate::kernels::aligned::Line;
#[cfg(target_arch = "aarch64")]
use crate::kernels::isa::Neon;
use crate::kernels::isa::Scalar;
#[cfg(target_arch = "x86_64")]
use crate::kernels::isa::{Avx2, Avx512, Avx512Vnni, AvxVnni};
use crate::kernels::simd::{Dot, LANES};

/// Most rows that a tile may have on any instruction set.
pub(in crate::kernels) const TILE_ROWS: usize = 32;

/// Accumulators of some rows by some strips: i32, or the bits of f32.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::kernels) struct Sums(pub(in crate::kernels) [[[i32; LANES]; PANEL_STRIPS]; TILE_ROWS]);

impl Sums {
    pub(in crate::kernels) const ZERO: Self = Self([[[0; LANES]; PANEL_STRIPS]; TILE_ROWS]);
}

/// How the tile registers are configured, where there are any. Belongs to a series of tiles.
#[derive(Debug, Default)]
pub(in crate::kernels) struct Registers(pub(super) Option<super::Configured>);

/// Up to [`PANEL_STRIPS`] strips of `depth` lines, `stride` lines apart.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Strips<'a, T> {
    pub(in crate::kernels) lines: &'a [Line<T>],
    pub(in crate::kernels) stride: usize,
    pub(in crate::kernels) depth: usize,
    pub(in crate::kernels) count: usize,
}

impl<T> Strips<'_, T> {
    #[inline(always)]
    pub(super) fn check(&self) {
        assert!(self.count <= PANEL_STRIPS && self.depth <= self.stride);
        assert!(self.count == 0 || self.lines.len() >= (self.count - 1) * self.stride + self.depth);
    }
}

/// The largest power of two up to `n`: there are tiles of 4, 2 and 1 strips.
pub(super) fn power_of_two(n: usize) -> usize {
    1 << n.ilog2()
}

/// The register tiles of an instruction set, each compiled once.
pub(in crate::kernels) trait Tiles: Dot {
    /// Ends a series of tiles.
    #[inline(always)]
    fn end_tiles(self, _registers: Registers) {}

    /// See [`dot_tile`].
    fn dot_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        registers: &mut Registers,
    );

    /// See [`fma_tile`].
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums);
}

macro_rules! tiles {
    ($token:ty $(, $features:literal)?) => {
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
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                fn run(s: $token, rows: usize, x: (&[u8], usize), weights: Strips<'_, [i8; 64]>, sums: &mut Sums) {
                    dot_tile(s, rows, x, weights, sums);
                }
                // SAFETY: `self` proves the features. (The scalar variant needs none.)
                #[allow(unused_unsafe)]
                unsafe {
                    run(self, rows, x, weights, sums)
                }
            }

            #[inline(always)]
            fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                fn run(s: $token, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
                    fma_tile(s, rows, x, weights, sums);
                }
                // SAFETY: `self` proves the features. (The scalar variant needs none.)
                #[allow(unused_unsafe)]
                unsafe {
                    run(self, rows, x, weights, sums)
                }
            }
        }
    };
}

tiles!(Scalar);
#[cfg(target_arch = "x86_64")]
tiles!(Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
tiles!(AvxVnni, "avx2,fma,avxvnni");
#[cfg(target_arch = "x86_64")]
tiles!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
tiles!(Avx512Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma");
#[cfg(target_arch = "aarch64")]
tiles!(Neon, "neon");

/// int8 dot products of `rows` rows (at most `S::ROWS_I8`), `stride` bytes apart in `x`, with some strips.
///
/// # Panics
/// If `x` or `lines` is too short.
#[inline(always)]
pub(super) fn dot_tile<S: Dot>(
    s: S,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [i8; 64]>,
    sums: &mut Sums,
) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= S::ROWS_I8);
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + 4 * depth);
    let mut first = 0;
    while first < weights.count {
        let some = power_of_two(weights.count - first).min(S::STRIPS_I8);
        let lines = weights.lines[first * weights.stride..].as_ptr();
        macro_rules! arms {
            ($($m:literal $v:literal),*) => {
                match (rows, some) {
                    // SAFETY: the rows and lines were found long enough above, and `first + some <= count`.
                    $(($m, $v) if S::ROWS_I8 >= $m && S::STRIPS_I8 >= $v => unsafe {
                        dot_rows::<S, $m, $v>(s, x.as_ptr(), stride, lines.cast(), (weights.stride, depth), first, sums);
                    })*
                    _ => {}
                }
            };
        }
        arms!(
            6 4, 5 4, 4 4, 3 4, 2 4, 1 4, 6 2, 5 2, 4 2, 3 2, 2 2, 1 2, 6 1, 5 1, 4 1, 3 1, 2 1, 1 1
        );
        first += some;
    }
}

/// # Safety
/// `M` rows of `4 * depth` bytes, `stride` apart, can be read at `x`, and `V` strips of `depth` lines, `apart` apart, at `weights`.
#[inline(always)]
unsafe fn dot_rows<S: Dot, const M: usize, const V: usize>(
    s: S,
    x: *const u8,
    stride: usize,
    weights: *const i8,
    (apart, depth): (usize, usize),
    first: usize,
    sums: &mut Sums,
) {
    let mut acc = [[s.zero_int(); V]; M];
    for k in 0..depth {
        // SAFETY: `k < depth`, rows and lines are there, says the caller.
        unsafe {
            let mut b = [s.weights(weights.add(64 * k)); V];
            for (v, b) in b.iter_mut().enumerate().skip(1) {
                *b = s.weights(weights.add(64 * (v * apart + k)));
            }
            for (m, acc) in acc.iter_mut().enumerate() {
                let a = s.broadcast(x.add(m * stride + 4 * k));
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = s.dot(*acc, a, b);
                }
            }
        }
    }
    for (acc, to) in acc.into_iter().zip(&mut sums.0) {
        for (acc, to) in acc.into_iter().zip(&mut to[first..first + V]) {
            s.store_int(acc, to);
        }
    }
}

/// f32 dot products, as [`dot_tile`]: a chain of fma over the `depth` inputs, in order.
///
/// # Panics
/// If `x` or `lines` is too short.
#[inline(always)]
pub(super) fn fma_tile<S: Dot>(
    s: S,
    rows: usize,
    (x, stride): (&[f32], usize),
    weights: Strips<'_, [f32; 16]>,
    sums: &mut Sums,
) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= S::ROWS_F32);
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + depth);
    let mut first = 0;
    while first < weights.count {
        let some = power_of_two(weights.count - first).min(S::STRIPS_F32);
        let lines = weights.lines[first * weights.stride..].as_ptr();
        macro_rules! arms {
            ($($m:literal $v:literal),*) => {
                match (rows, some) {
                    // SAFETY: the rows and lines were found long enough above, and `first + some <= count`.
                    $(($m, $v) if S::ROWS_F32 >= $m && S::STRIPS_F32 >= $v => unsafe {
                        fma_rows::<S, $m, $v>(s, x.as_ptr(), stride, lines, (weights.stride, depth), first, sums);
                    })*
                    _ => {}
                }
            };
        }
        arms!(
            6 4, 5 4, 4 4, 3 4, 2 4, 1 4, 6 2, 5 2, 4 2, 3 2, 2 2, 1 2, 6 1, 5 1, 4 1, 3 1, 2 1, 1 1
        );
        first += some;
    }
}

/// # Safety
/// `M` rows of `depth` numbers, `stride` apart, can be read at `x`, and `V` strips of `depth` lines, `apart` apart, at `weights`.
#[inline(always)]
unsafe fn fma_rows<S: Dot, const M: usize, const V: usize>(
    s: S,
    x: *const f32,
    stride: usize,
    weights: *const Line<[f32; 16]>,
    (apart, depth): (usize, usize),
    first: usize,
    sums: &mut Sums,
) {
    let mut acc = [[s.zero(); V]; M];
    for k in 0..depth {
        // SAFETY: `k < depth`, rows and lines are there, says the caller.
        unsafe {
            let mut b = [s.load(&(*weights.add(k)).0); V];
            for (v, b) in b.iter_mut().enumerate().skip(1) {
                *b = s.load(&(*weights.add(v * apart + k)).0);
            }
            for (m, acc) in acc.iter_mut().enumerate() {
                let a = s.splat(*x.add(m * stride + k));
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = s.fma(a, b, *acc);
                }
            }
        }
    }
    for (acc, to) in acc.into_iter().zip(&mut sums.0) {
        for (acc, to) in acc.into_iter().zip(&mut to[first..first + V]) {
            s.store_int(s.to_bits(acc), to);
        }
    }
}

/// Rows of the next tile when `left` rows are left and a tile holds `limit`: as even as can be, so that the last tile of
/// 32 rows has five and not two.
#[inline(always)]
pub(in crate::kernels) fn next_rows(left: usize, limit: usize) -> usize {
    left.div_ceil(left.div_ceil(limit))
}
