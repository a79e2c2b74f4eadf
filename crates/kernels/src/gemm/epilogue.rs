//! The operations that follow the dot products of a tile, and those on a row once all its columns are
//! computed.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::slice::Chunks;

use super::pack::Columns;
use super::tile::{EachRow, RowSums, Sums, each_in_memory};
use super::{GROUP_ROWS, Gemm, PANEL_STRIPS};
use crate::Activation;
use crate::activation::{Function, Gelu, GeluNew, Identity, Relu, Silu, Tanh};
use crate::aligned::Line;
use crate::norm::normalize_row;
use crate::quantize::{Extremes, Levels, RowRange, narrow_row, round_row, row_bytes};
use crate::simd::{LANES, Simd};

/// Converts accumulators to f32, before the epilogue.
pub(super) trait Scale: Copy {
    /// The constants of a strip of columns, in memory.
    type Strip;
    /// The constants of a strip of columns, in registers.
    type Constants<S: Simd>: Copy;

    fn strips(&self) -> &[Self::Strip];
    /// The ranges of the rows from `row` on: at least [`GROUP_ROWS`], or all that there are.
    fn ranges(&self, row: usize) -> &[RowRange];
    fn constants<S: Simd>(s: S, strip: &Self::Strip) -> Self::Constants<S>;
    fn linear<S: Simd>(s: S, acc: S::I, range: (S::F, S::F), c: Self::Constants<S>) -> S::F;
}

/// The columns of int8 weights and the ranges of the rows.
#[derive(Clone, Copy)]
pub(super) struct Int8<'a>(pub(super) &'a [Columns], pub(super) &'a [RowRange]);

impl Scale for Int8<'_> {
    type Strip = Columns;
    type Constants<S: Simd> = [S::F; 3];

    #[inline(always)]
    fn strips(&self) -> &[Columns] {
        self.0
    }

    #[inline(always)]
    fn ranges(&self, row: usize) -> &[RowRange] {
        &self.1[row..]
    }

    #[inline(always)]
    fn constants<S: Simd>(s: S, c: &Columns) -> [S::F; 3] {
        [s.load(&c.scale), s.load(&c.offset_scale), s.load(&c.bias)]
    }

    #[inline(always)]
    fn linear<S: Simd>(s: S, acc: S::I, range: (S::F, S::F), [scale, offset_scale, bias]: [S::F; 3]) -> S::F {
        let constant = s.fma(range.1, offset_scale, bias);
        s.fma(s.mul(s.to_float(acc), range.0), scale, constant)
    }
}

/// The bias of f32 weights.
#[derive(Clone, Copy)]
pub(super) struct Float<'a>(pub(super) &'a [[f32; LANES]]);

impl Scale for Float<'_> {
    type Strip = [f32; LANES];
    type Constants<S: Simd> = S::F;

    #[inline(always)]
    fn strips(&self) -> &[[f32; LANES]] {
        self.0
    }

    #[inline(always)]
    fn ranges(&self, _: usize) -> &[RowRange] {
        &[RowRange { scale: 0.0, offset: 0.0 }; GROUP_ROWS]
    }

    #[inline(always)]
    fn constants<S: Simd>(s: S, bias: &[f32; LANES]) -> S::F {
        s.load(bias)
    }

    #[inline(always)]
    fn linear<S: Simd>(s: S, acc: S::I, _: (S::F, S::F), bias: S::F) -> S::F {
        s.add(s.from_bits(acc), bias)
    }
}

/// The epilogues that have code of their own, which are those of BERT's linears, and `Any` for all others.
/// Fewer paths compile faster, and a further path would cost more in the instruction cache than it saves in
/// branches.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    Plain,
    /// A ReLU whose result is read only in unsigned levels. Quantising to them turns negative numbers into 0,
    /// so nothing else has to be done.
    UnsignedOnly,
    Residual,
    Relu,
    Gelu,
    GeluNew,
    Any,
}

impl Path {
    fn of(gemm: &Gemm<'_>) -> Self {
        let (epilogue, output) = (&gemm.epilogue, &gemm.output);
        let unsigned = output.quantized.as_ref().is_some_and(|q| q.levels == Levels::Unsigned);
        match (epilogue.activation, epilogue.residual) {
            (Activation::Identity, None) => Self::Plain,
            (Activation::Identity, Some(_)) => Self::Residual,
            (Activation::Relu, None) if unsigned && !output.keep && epilogue.norm.is_none() => {
                Self::UnsignedOnly
            }
            (Activation::Relu, None) => Self::Relu,
            (Activation::Gelu, None) => Self::Gelu,
            (Activation::GeluNew, None) => Self::GeluNew,
            _ => Self::Any,
        }
    }
}

/// The epilogue of one [`Gemm`].
pub(crate) struct Finish<'g, 'a, S: Simd> {
    s: S,
    gemm: &'g mut Gemm<'a>,
    columns: usize,
    /// Those of the group's rows are written when it begins. Writing all 16 KiB for every linear took 5 % of
    /// the time of 16 rows.
    extremes: [MaybeUninit<Extremes<S>>; GROUP_ROWS],
    /// Rows of the group.
    rows: usize,
    path: Path,
}

impl<'g, 'a, S: Simd> Finish<'g, 'a, S> {
    #[inline(always)]
    pub(super) fn new(s: S, gemm: &'g mut Gemm<'a>, columns: usize) -> Self {
        let path = Path::of(gemm);
        Self { s, gemm, columns, extremes: [MaybeUninit::uninit(); GROUP_ROWS], rows: 0, path }
    }

    /// Begins a group of rows.
    #[inline(always)]
    pub(super) fn begin(&mut self, rows: usize) {
        for extremes in &mut self.extremes[..rows] {
            extremes.write(Extremes::new(self.s));
        }
        self.rows = rows;
    }

    /// Whether [`Finish::panel`] has code for a tile: it needs [`PANEL_STRIPS`] whole strips and an activation
    /// with a path of its own.
    #[inline(always)]
    pub(super) fn has_panel(&self, place: Place) -> bool {
        let whole = place.strips == PANEL_STRIPS && self.columns >= (place.strip + place.strips) * LANES;
        S::PANELS && whole && self.path != Path::Any
    }

    /// Computes and stores the results of one tile, and prefetches lines, some with each row.
    #[inline(always)]
    pub(super) fn panel<C: Scale>(
        &mut self,
        sums: impl TileSums<S>,
        place: Place,
        scale: C,
        ahead: &[Line<[u8; 64]>],
    ) {
        match self.path {
            Path::Plain => self.panel_of::<Identity, C, false, false>(sums, place, scale, ahead),
            Path::UnsignedOnly => self.panel_of::<Identity, C, false, true>(sums, place, scale, ahead),
            Path::Residual => self.panel_of::<Identity, C, true, false>(sums, place, scale, ahead),
            Path::Relu => self.panel_of::<Relu, C, false, false>(sums, place, scale, ahead),
            Path::Gelu => self.panel_of::<Gelu, C, false, false>(sums, place, scale, ahead),
            Path::GeluNew => self.panel_of::<GeluNew, C, false, false>(sums, place, scale, ahead),
            Path::Any => {}
        }
    }

    #[inline(always)]
    fn panel_of<A: Function, C: Scale, const RESIDUAL: bool, const HIGH_ONLY: bool>(
        &mut self,
        sums: impl TileSums<S>,
        place: Place,
        scale: C,
        ahead: &[Line<[u8; 64]>],
    ) {
        let s = self.s;
        let (row, column) = (place.group + place.row, place.strip * LANES);
        let strips = &scale.strips()[place.strip..][..PANEL_STRIPS];
        let out = &mut self.gemm.output;
        let out_row = if out.keep { row } else { place.row };
        let (to_stride, to) = (out.stride, &mut out.values[out_row * out.stride + column..]);
        let (from, from_stride, gamma) = match self.gemm.epilogue.residual {
            Some(r) if RESIDUAL => {
                (&r.rows.values[row * r.rows.stride + column..], r.rows.stride, &r.gamma[place.strip..])
            }
            _ => (&[][..], 1, &[][..]),
        };
        sums.pass_to(&mut Panel::<S, A, C, RESIDUAL, HIGH_ONLY> {
            s,
            constants: std::array::from_fn(|strip| C::constants(s, &strips[strip])),
            gamma,
            ranges: &scale.ranges(row)[..place.rows],
            extremes: &mut seen(&mut self.extremes, self.rows)[place.row..][..place.rows],
            to: (to, to_stride),
            from: (from, from_stride),
            ahead: ahead.chunks(ahead.len().div_ceil(place.rows).max(1)),
            activation: PhantomData,
        });
    }

    /// Computes any epilogue on any number of columns, at half the speed, and prefetches nothing.
    #[inline(always)]
    pub(super) fn narrow_panel<C: Scale>(&mut self, sums: &Sums, place: Place, scale: C) {
        let s = self.s;
        let ranges = scale.ranges(place.group + place.row);
        for ((row, acc), range) in (place.row..place.row + place.rows).zip(&sums.0).zip(ranges) {
            let range = (s.splat(range.scale), s.splat(range.offset));
            for (strip, acc) in (place.strip..place.strip + place.strips).zip(acc) {
                let n = LANES.min(self.columns - strip * LANES);
                let mut x = C::linear(s, s.load_int(acc), range, C::constants(s, &scale.strips()[strip]));
                x = match self.gemm.epilogue.activation {
                    Activation::Identity => x,
                    Activation::Relu => Relu::apply(s, x),
                    Activation::Gelu => Gelu::apply(s, x),
                    Activation::GeluNew => GeluNew::apply(s, x),
                    Activation::Silu => Silu::apply(s, x),
                    Activation::Tanh => Tanh::apply(s, x),
                };
                if let Some(r) = &self.gemm.epilogue.residual {
                    let from = &r.rows.values[(place.group + row) * r.rows.stride + strip * LANES..][..n];
                    x = s.fma(s.load(&r.gamma[strip]), s.load_head(from), x);
                }
                let out = &mut self.gemm.output;
                let out_row = if out.keep { place.group + row } else { row };
                s.store_head(x, &mut out.values[out_row * out.stride + strip * LANES..][..n]);
                seen(&mut self.extremes, self.rows)[row].see_head(s, n, x);
            }
        }
    }

    /// Normalises and quantises the rows of the group. Each step has a loop over the rows, so that its serial
    /// part (a minimum across lanes, divisions) overlaps with that of the other rows.
    #[inline(always)]
    pub(super) fn end(&mut self, group: usize, rows: usize) {
        let (s, columns, norm) = (self.s, self.columns, self.gemm.epilogue.norm);
        let out = &mut self.gemm.output;
        let extremes = &mut seen(&mut self.extremes, self.rows)[..rows];
        let start = if out.keep { group * out.stride } else { 0 };
        let values = &mut out.values[start..];
        if let Some(norm) = norm {
            for (x, extremes) in values.chunks_mut(out.stride).zip(&mut *extremes) {
                normalize_row(s, &mut x[..columns], norm);
                *extremes = Extremes::of(s, &x[..columns]);
            }
        }
        let Some(q) = &mut out.quantized else { return };
        if q.levels == Levels::Bf16 {
            let bytes = q.values[group * q.stride..].chunks_mut(q.stride);
            for (x, bytes) in values.chunks(out.stride).zip(bytes).take(rows) {
                round_row(&x[..columns], &mut bytes[..row_bytes(2 * columns)]);
            }
            return;
        }
        let mut inverses = [0.0; GROUP_ROWS];
        let ranges = &mut q.ranges[group..group + rows];
        crate::quantize::ranges(s, extremes, q.levels, ranges, &mut inverses);
        let bytes = q.values[group * q.stride..].chunks_mut(q.stride);
        for (((row, inverse), x), bytes) in
            ranges.iter().zip(inverses).zip(values.chunks(out.stride)).zip(bytes)
        {
            narrow_row(s, &x[..columns], *row, inverse, &mut bytes[..row_bytes(columns)]);
        }
    }
}

/// The sums of a tile of [`PANEL_STRIPS`] whole strips.
pub(super) trait TileSums<S: Simd> {
    fn pass_to(self, each: &mut impl EachRow<S::I>);
}

/// Sums that lie in memory.
pub(super) struct InMemory<'a, S>(pub(super) S, pub(super) &'a [RowSums]);

impl<S: Simd> TileSums<S> for InMemory<'_, S> {
    #[inline(always)]
    fn pass_to(self, each: &mut impl EachRow<S::I>) {
        each_in_memory(self.0, self.1, each);
    }
}

/// The epilogue of a tile of whole strips, row by row. Vectors come from arrays, so that bounds are checked once
/// a row.
struct Panel<'p, S: Simd, A, C: Scale, const RESIDUAL: bool, const HIGH_ONLY: bool> {
    s: S,
    constants: [C::Constants<S>; PANEL_STRIPS],
    /// The factors of the residual.
    gamma: &'p [[f32; LANES]],
    /// Those of the tile's rows.
    ranges: &'p [RowRange],
    extremes: &'p mut [Extremes<S>],
    /// The result, and the residual, each with the distance from one row to the next.
    to: (&'p mut [f32], usize),
    from: (&'p [f32], usize),
    ahead: Chunks<'p, Line<[u8; 64]>>,
    activation: PhantomData<A>,
}

impl<S: Simd, A: Function, C: Scale, const RESIDUAL: bool, const HIGH_ONLY: bool> EachRow<S::I>
    for Panel<'_, S, A, C, RESIDUAL, HIGH_ONLY>
{
    #[inline(always)]
    fn row(&mut self, row: usize, sums: [S::I; PANEL_STRIPS]) {
        const WIDTH: usize = PANEL_STRIPS * LANES;
        let s = self.s;
        let range = (s.splat(self.ranges[row].scale), s.splat(self.ranges[row].offset));
        for line in self.ahead.next().unwrap_or_default() {
            s.prefetch(line);
        }
        let (to, _) = self.to.0[row * self.to.1..][..WIDTH].as_chunks_mut::<LANES>();
        let from = if RESIDUAL { &self.from.0[row * self.from.1..][..WIDTH] } else { &[] };
        let (from, _) = from.as_chunks::<LANES>();
        let mut seen = self.extremes[row];
        for (v, sums) in sums.into_iter().enumerate() {
            let mut x = A::apply(s, C::linear(s, sums, range, self.constants[v]));
            if RESIDUAL {
                x = s.fma(s.load(&self.gamma[v]), s.load(&from[v]), x);
            }
            s.store(x, &mut to[v]);
            if HIGH_ONLY {
                seen.high = s.max(x, seen.high);
            } else {
                seen.see(s, x);
            }
        }
        self.extremes[row] = seen;
    }
}

/// The extremes of the `rows` rows of a group.
#[inline(always)]
fn seen<S: Simd>(extremes: &mut [MaybeUninit<Extremes<S>>; GROUP_ROWS], rows: usize) -> &mut [Extremes<S>] {
    // SAFETY: [`Finish::begin`] wrote as many before it set `rows`.
    unsafe { extremes[..rows].assume_init_mut() }
}

/// The place of a tile in the result.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// First row of the group.
    pub(super) group: usize,
    /// First row of the tile, within the group.
    pub(super) row: usize,
    /// Rows of the tile.
    pub(super) rows: usize,
    /// First strip.
    pub(super) strip: usize,
    /// Strips of the panel.
    pub(super) strips: usize,
}
