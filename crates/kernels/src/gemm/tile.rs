//! The register tiles: a few rows times a few strips, accumulated in registers and stored in memory for what
//! follows, so that one epilogue serves all tile sizes and instruction sets.
//!
//! Where it pays, the sums of a tile of whole strips go to the epilogue in registers ([`EachRow`]).

use bytemuck::Pod;

use super::products::{Bf16, F32, Int8, Products};
#[cfg(any(target_arch = "x86_64", target_feature = "simd128"))]
use super::widened;
use super::{PANEL_STRIPS, fits};
use crate::aligned::Line;
#[cfg(target_feature = "relaxed-simd")]
use crate::isa::WasmFma;
#[cfg(target_feature = "simd128")]
use crate::isa::WasmSimd128;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512, Avx512Bf16, Avx512Vnni, AvxVnni};
use crate::isa::{Scalar, with_features};
use crate::simd::{Dot, LANES, Simd};

/// Most rows that a tile may have on any instruction set.
pub(crate) const TILE_ROWS: usize = 32;

/// Accumulators of some rows by some strips, as i32 or as the bits of f32.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [RowSums; TILE_ROWS]);

/// Accumulators of a row.
pub(crate) type RowSums = [[i32; LANES]; PANEL_STRIPS];

impl Sums {
    pub(crate) const ZERO: Self = Self([[[0; LANES]; PANEL_STRIPS]; TILE_ROWS]);
}

/// The configuration of the tile registers, on CPUs that have them. It lasts for a series of tiles.
#[derive(Debug, Default)]
pub(crate) struct Registers(pub(super) Option<super::Configured>);

/// Up to [`PANEL_STRIPS`] strips of `depth` lines.
#[derive(Clone, Copy)]
pub(crate) struct Strips<'a, T> {
    pub(crate) lines: &'a [Line<T>],
    /// Lines from a strip to the next one.
    pub(crate) apart: usize,
    /// Lines from a line of a strip to the strip's next one.
    pub(crate) step: usize,
    pub(crate) depth: usize,
    pub(crate) count: usize,
}

impl<'a, T> Strips<'a, T> {
    #[inline(always)]
    pub(super) fn check(&self) {
        assert!(self.count <= PANEL_STRIPS);
        if let (Some(strip), Some(line)) = (self.count.checked_sub(1), self.depth.checked_sub(1)) {
            assert!(self.lines.len() > strip * self.apart + line * self.step, "weights are too short");
        }
    }

    /// The lines from the first one of a strip on.
    #[inline(always)]
    pub(super) fn from(self, strip: usize) -> &'a [Line<T>] {
        // Strips without lines may lie beyond the end.
        self.lines.get(strip * self.apart..).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn bytes(self) -> Strips<'a, [u8; 64]>
    where
        Line<T>: Pod,
    {
        let Self { lines, apart, step, depth, count } = self;
        Strips { lines: bytemuck::cast_slice(lines), apart, step, depth, count }
    }
}

/// What becomes of the sums of a tile of [`PANEL_STRIPS`] strips, one row at a time.
pub(crate) trait EachRow<I> {
    fn row(&mut self, row: usize, sums: [I; PANEL_STRIPS]);
}

/// Passes sums on that lie in memory.
#[inline(always)]
pub(crate) fn each_in_memory<S: Simd>(s: S, sums: &[RowSums], each: &mut impl EachRow<S::I>) {
    for (row, sums) in sums.iter().enumerate() {
        each.row(row, std::array::from_fn(|strip| s.load_int(&sums[strip])));
    }
}

/// The largest power of two up to `n`. Tiles have 4, 2 or 1 strips.
pub(super) fn power_of_two(n: usize) -> usize {
    1 << n.ilog2()
}

/// The register tiles of an instruction set, each compiled once. Rows are `stride` numbers apart in `x`.
pub(crate) trait Tiles: Dot {
    /// Rows of the bf16 tile.
    const ROWS_BF16: usize = Bf16::<Self>::ROWS;
    /// Sixteen-column strips of the bf16 tile.
    const STRIPS_BF16: usize = Bf16::<Self>::STRIPS;

    /// Ends a series of tiles.
    #[inline(always)]
    fn end_tiles(self, _registers: Registers) {}

    /// Dot products of 8-bit rows with int8 weights, exact.
    fn dot_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        registers: &mut Registers,
    );

    /// Passes the sums of [`Tiles::dot_tile`] on, which has [`PANEL_STRIPS`] strips here.
    #[inline(always)]
    fn each_dot_row(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        (sums, registers): (&mut Sums, &mut Registers),
        each: &mut impl EachRow<Self::I>,
    ) {
        self.dot_tile(rows, x, weights, sums, registers);
        each_in_memory(self, &sums.0[..rows], each);
    }

    /// Dot products in f32, each a chain of fma over the inputs, in order.
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums);

    /// Dot products of bf16. The sums are in f32, and their order depends on the instruction set. `x` are
    /// bytes.
    #[inline(always)]
    fn bf16_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [u8; 64]>,
        sums: &mut Sums,
        _registers: &mut Registers,
    ) {
        tile(Bf16(self), rows, x, weights, &mut sums.0);
    }
}

/// Calls [`tile`], or another function with the same parameters, compiled for the features that
/// [`with_features`] gives it.
macro_rules! compiled_tile {
    ([$($feature:tt)*] $products:expr, $type:ty, $rows:expr, $x:expr, $weights:expr, $sums:expr) => {
        compiled_tile!([$($feature)*] $crate::gemm::tile::tile; $products, $type, $rows, $x, $weights, $sums)
    };
    (
        [$($feature:tt)*] $body:path;
        $products:expr, $type:ty, $rows:expr, $x:expr, $weights:expr, $sums:expr
    ) => {{
        $(#[target_feature(enable = $feature)])*
        #[inline(never)]
        fn run(
            products: $type,
            rows: usize,
            x: (&[u8], usize),
            weights: $crate::gemm::tile::Strips<'_, [u8; 64]>,
            sums: &mut $crate::gemm::tile::Sums,
        ) {
            $body(products, rows, x, weights, &mut sums.0);
        }
        // SAFETY: the token in `products` proves the features. (The scalar variant needs none.)
        #[allow(unused_unsafe)]
        unsafe {
            run($products, $rows, $x, $weights, $sums)
        }
    }};
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_feature = "relaxed-simd"))]
pub(super) use compiled_tile;

/// The bytes of rows of f32.
#[inline(always)]
pub(super) fn bytes((x, stride): (&[f32], usize)) -> (&[u8], usize) {
    (bytemuck::cast_slice(x), size_of::<f32>() * stride)
}

macro_rules! tiles {
    ([$($feature:tt)*] $token:ident $(, $more:item)*) => {
        tiles!([$($feature)*] tile; $token $(, $more)*);
    };
    ([$($feature:tt)*] $body:path; $token:ident $(, $more:item)*) => {
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
                let weights = weights.bytes();
                compiled_tile!([$($feature)*] $body; Int8(self), Int8<$token>, rows, x, weights, sums);
            }

            #[inline(always)]
            fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
                compiled_tile!([$($feature)*] F32(self), F32<$token>, rows, bytes(x), weights.bytes(), sums);
            }

            $($more)*
        }
    };
}

with_features!(Scalar, tiles!(Scalar));
#[cfg(target_feature = "simd128")]
with_features!(WasmSimd128, tiles!(widened::tile; WasmSimd128));
#[cfg(target_feature = "relaxed-simd")]
with_features!(WasmFma, tiles!(widened::tile; WasmFma));
#[cfg(target_arch = "x86_64")]
with_features!(Avx2, tiles!(widened::tile; Avx2));
#[cfg(target_arch = "x86_64")]
with_features!(AvxVnni, tiles!(AvxVnni));
#[cfg(target_arch = "x86_64")]
with_features!(Avx512, tiles!(widened::tile; Avx512));
#[cfg(target_arch = "x86_64")]
with_features!(
    Avx512Vnni,
    tiles!(
        Avx512Vnni,
        /// Passes the sums of four rows and more on in registers.
        #[inline(always)]
        fn each_dot_row(
            self,
            rows: usize,
            x: (&[u8], usize),
            weights: Strips<'_, [i8; 64]>,
            (sums, registers): (&mut Sums, &mut Registers),
            each: &mut impl EachRow<Self::I>,
        ) {
            if !each_in_registers(Int8(self), rows, x, weights.bytes(), each) {
                self.dot_tile(rows, x, weights, sums, registers);
                each_in_memory(self, &sums.0[..rows], each);
            }
        },
        /// Uses bf16 products on the CPUs with VNNI that have them.
        #[inline(always)]
        fn bf16_tile(
            self,
            rows: usize,
            x: (&[u8], usize),
            weights: Strips<'_, [u8; 64]>,
            sums: &mut Sums,
            _registers: &mut Registers,
        ) {
            match Avx512Bf16::new() {
                Some(&token) => {
                    with_features!(Avx512Bf16, compiled_tile!(token, Avx512Bf16, rows, x, weights, sums))
                }
                None => tile(Bf16(self), rows, x, weights, &mut sums.0),
            }
        }
    )
);

/// Multiplies `rows` rows (at most `P::ROWS`), which lie `stride` bytes apart in `x`, by some strips.
///
/// # Panics
/// If `x` or `lines` is too short.
#[inline(always)]
pub(super) fn tile<P: Products>(
    p: P,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [u8; 64]>,
    sums: &mut [RowSums],
) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= P::ROWS);
    assert!(fits(x.len(), rows, stride, 4 * depth));
    let mut first = 0;
    while first < weights.count {
        let some = power_of_two(weights.count - first).min(P::STRIPS);
        let lines = weights.from(first).as_ptr();
        // The compiler then knows the places of all lines from one pointer.
        let interleaved = (weights.apart, weights.step) == (1, PANEL_STRIPS);
        macro_rules! arms {
            ($($m:literal $v:literal),*) => {
                match (rows, some) {
                    // SAFETY: the assertions above found the rows and lines long enough, and
                    // `first + some <= count`.
                    $(($m, $v) if P::ROWS >= $m && P::STRIPS >= $v => unsafe {
                        let (x, lines) = (x.as_ptr(), lines.cast());
                        if $v == P::STRIPS && interleaved {
                            let places = (1, PANEL_STRIPS);
                            tile_rows::<P, $m, $v>(p, (x, stride), (lines, places), depth, first, sums);
                        } else {
                            let places = (weights.apart, weights.step);
                            tile_rows::<P, $m, $v>(p, (x, stride), (lines, places), depth, first, sums);
                        }
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

/// Multiplies rows as [`tile`] does and passes the sums on while they are in registers, if there is code for
/// that many rows. Only four to six rows have code, because it is compiled once for each epilogue.
///
/// # Panics
/// If `x` or `weights` is too short.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn each_in_registers<P: Products>(
    p: P,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [u8; 64]>,
    each: &mut impl EachRow<P::Sum>,
) -> bool {
    const { assert!(P::ROWS == 6 && P::STRIPS == PANEL_STRIPS) };
    weights.check();
    assert!(weights.count == PANEL_STRIPS);
    assert!(fits(x.len(), rows, stride, 4 * weights.depth));
    let (x, lines) = ((x.as_ptr(), stride), (weights.from(0).as_ptr().cast(), (weights.apart, weights.step)));
    match rows {
        // SAFETY: the assertions above found the rows and lines long enough.
        6 => each_row::<P, 6>(unsafe { accumulate(p, x, lines, weights.depth) }, each),
        // SAFETY: as above.
        5 => each_row::<P, 5>(unsafe { accumulate(p, x, lines, weights.depth) }, each),
        // SAFETY: as above.
        4 => each_row::<P, 4>(unsafe { accumulate(p, x, lines, weights.depth) }, each),
        _ => return false,
    }
    true
}

/// Passes sums on. The rows are written out, because a loop would need the sums in memory.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn each_row<P: Products, const M: usize>(sums: [[P::Sum; PANEL_STRIPS]; M], each: &mut impl EachRow<P::Sum>) {
    macro_rules! rows {
        ($($row:literal)*) => {$(
            if $row < M {
                each.row($row, sums[$row]);
            }
        )*};
    }
    rows!(0 1 2 3 4 5);
}

/// Stores the sums of [`accumulate`].
///
/// # Safety
/// That of [`accumulate`].
#[inline(always)]
unsafe fn tile_rows<P: Products, const M: usize, const V: usize>(
    p: P,
    x: (*const u8, usize),
    weights: (*const u8, (usize, usize)),
    depth: usize,
    first: usize,
    sums: &mut [RowSums],
) {
    // SAFETY: the caller's.
    let acc: [[P::Sum; V]; M] = unsafe { accumulate(p, x, weights, depth) };
    for (acc, to) in acc.into_iter().zip(sums) {
        for (acc, to) in acc.into_iter().zip(&mut to[first..first + V]) {
            p.store(acc, to);
        }
    }
}

/// Multiplies `M` rows by `V` strips.
///
/// # Safety
/// `M` rows of `4 * depth` bytes, `stride` apart, can be read at `x`, and `V` strips of `depth` lines at
/// `weights`. Strips are `apart` lines apart, and the lines of a strip `step` lines.
#[inline(always)]
unsafe fn accumulate<P: Products, const M: usize, const V: usize>(
    p: P,
    (x, stride): (*const u8, usize),
    (weights, (apart, step)): (*const u8, (usize, usize)),
    depth: usize,
) -> [[P::Sum; V]; M] {
    let mut acc = [[p.zero(); V]; M];
    for k in 0..depth {
        // SAFETY: `k < depth`, and the caller promises the rows and lines.
        unsafe {
            let mut w = [p.weights(weights.add(64 * k * step)); V];
            for (v, w) in w.iter_mut().enumerate().skip(1) {
                *w = p.weights(weights.add(64 * (v * apart + k * step)));
            }
            for (m, acc) in acc.iter_mut().enumerate() {
                let x = p.row(x.add(m * stride + 4 * k));
                for (acc, w) in acc.iter_mut().zip(w) {
                    *acc = p.add(*acc, x, w);
                }
            }
        }
    }
    acc
}

/// The rows of the next tile if `left` rows are left and a tile holds at most `limit`. Tiles are as equal as
/// possible: with a limit of six, the last tile of 32 rows has five rows instead of two.
#[inline(always)]
pub(crate) fn next_rows(left: usize, limit: usize) -> usize {
    left.div_ceil(left.div_ceil(limit))
}
