//! What follows the dot products of a tile, and of a row once all its columns are there.

use super::pack::Columns;
use super::tile::Tile;
use super::{GROUP_ROWS, Gemm, PANEL_STRIPS};
use crate::graph::Activation;
use crate::kernels::activation::{Function, Gelu, GeluNew, Identity, Relu, Tanh};
use crate::kernels::norm::normalize_row;
use crate::kernels::quantize::{Extremes, Levels, RowRange, quantize_row, row_bytes};
use crate::kernels::simd::{LANES, Simd};

/// From accumulators to f32, before the epilogue.
pub(super) trait Scale: Copy {
    fn range(&self, row: usize) -> RowRange;
    fn linear<S: Simd>(&self, s: S, acc: &[i32; LANES], range: (S::F, S::F), strip: usize) -> S::F;
}

/// The columns of int8 weights and the ranges of the rows.
#[derive(Clone, Copy)]
pub(super) struct Int8<'a>(pub(super) &'a [Columns], pub(super) &'a [RowRange]);

impl Scale for Int8<'_> {
    #[inline(always)]
    fn range(&self, row: usize) -> RowRange {
        self.1[row]
    }

    #[inline(always)]
    fn linear<S: Simd>(&self, s: S, acc: &[i32; LANES], range: (S::F, S::F), strip: usize) -> S::F {
        let c = &self.0[strip];
        let constant = s.fma(range.1, s.load(&c.offset_scale), s.load(&c.bias));
        s.fma(s.mul(s.to_float(s.load_int(acc)), range.0), s.load(&c.scale), constant)
    }
}

/// The bias of f32 weights.
#[derive(Clone, Copy)]
pub(super) struct Float<'a>(pub(super) &'a [[f32; LANES]]);

impl Scale for Float<'_> {
    #[inline(always)]
    fn range(&self, _: usize) -> RowRange {
        RowRange::default()
    }

    #[inline(always)]
    fn linear<S: Simd>(&self, s: S, acc: &[i32; LANES], _: (S::F, S::F), strip: usize) -> S::F {
        s.add(s.from_bits(s.load_int(acc)), s.load(&self.0[strip]))
    }
}

/// Which epilogues have code of their own: those of BERT's linears. Fewer paths compile faster, and a path costs more in the
/// instruction cache than its branch saves.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    Plain,
    /// Quantising to unsigned levels turns negative numbers to 0, so ReLU is done if nobody else reads the numbers.
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
pub(in crate::kernels) struct Finish<'g, 'a, S: Simd> {
    s: S,
    gemm: &'g mut Gemm<'a>,
    columns: usize,
    extremes: [Extremes<S>; GROUP_ROWS],
    path: Path,
}

impl<'g, 'a, S: Simd> Finish<'g, 'a, S> {
    #[inline(always)]
    pub(super) fn new(s: S, gemm: &'g mut Gemm<'a>, columns: usize) -> Self {
        let path = Path::of(gemm);
        Self { s, gemm, columns, extremes: [Extremes::new(s); GROUP_ROWS], path }
    }

    /// Begins a group of rows.
    #[inline(always)]
    pub(super) fn begin(&mut self) {
        self.extremes = [Extremes::new(self.s); GROUP_ROWS];
    }

    /// The results of one tile.
    #[inline(always)]
    pub(super) fn tile(&mut self, tile: &Tile, place: Place, scale: impl Scale) {
        if place.strips < PANEL_STRIPS || self.columns < (place.strip + place.strips) * LANES {
            self.narrow_panel(tile, place, scale);
            return;
        }
        match self.path {
            Path::Plain => self.panel::<Identity, false, false>(tile, place, scale),
            Path::UnsignedOnly => self.panel::<Identity, false, true>(tile, place, scale),
            Path::Residual => self.panel::<Identity, true, false>(tile, place, scale),
            Path::Relu => self.panel::<Relu, false, false>(tile, place, scale),
            Path::Gelu => self.panel::<Gelu, false, false>(tile, place, scale),
            Path::GeluNew => self.panel::<GeluNew, false, false>(tile, place, scale),
            Path::Any => self.narrow_panel(tile, place, scale),
        }
    }

    /// A panel of [`PANEL_STRIPS`] whole strips.
    #[inline(always)]
    fn panel<A: Function, const RESIDUAL: bool, const HIGH_ONLY: bool>(
        &mut self,
        tile: &Tile,
        place: Place,
        scale: impl Scale,
    ) {
        let s = self.s;
        let column = place.strip * LANES;
        let out = &mut self.gemm.output;
        let residual = if RESIDUAL { self.gemm.epilogue.residual } else { None };
        for (row, acc) in (place.row..place.row + place.rows).zip(&tile.0) {
            let range = scale.range(place.group + row);
            let range = (s.splat(range.scale), s.splat(range.offset));
            let out_row = if out.keep { place.group + row } else { row };
            let to = &mut out.values[out_row * out.stride + column..][..PANEL_STRIPS * LANES];
            let (to, _) = to.as_chunks_mut::<LANES>();
            let from = residual.map_or(&[][..], |r| {
                &r.rows.values[(place.group + row) * r.rows.stride + column..][..PANEL_STRIPS * LANES]
            });
            let (from, _) = from.as_chunks::<LANES>();
            let mut extremes = self.extremes[row];
            for v in 0..PANEL_STRIPS {
                let mut x = A::apply(s, scale.linear(s, &acc[v], range, place.strip + v));
                if let Some(r) = residual {
                    x = s.fma(s.load(&r.gamma[place.strip + v]), s.load(&from[v]), x);
                }
                s.store(x, &mut to[v]);
                if HIGH_ONLY {
                    extremes.high = s.max(x, extremes.high);
                } else {
                    extremes.see(s, x);
                }
            }
            self.extremes[row] = extremes;
        }
    }

    /// Any epilogue on any number of columns, at half the speed.
    #[inline(always)]
    fn narrow_panel(&mut self, tile: &Tile, place: Place, scale: impl Scale) {
        let s = self.s;
        for (row, acc) in (place.row..place.row + place.rows).zip(&tile.0) {
            let range = scale.range(place.group + row);
            let range = (s.splat(range.scale), s.splat(range.offset));
            for (strip, acc) in (place.strip..place.strip + place.strips).zip(acc) {
                let n = LANES.min(self.columns - strip * LANES);
                let mut x = scale.linear(s, acc, range, strip);
                x = match self.gemm.epilogue.activation {
                    Activation::Identity => x,
                    Activation::Relu => Relu::apply(s, x),
                    Activation::Gelu => Gelu::apply(s, x),
                    Activation::GeluNew => GeluNew::apply(s, x),
                    Activation::Tanh => Tanh::apply(s, x),
                };
                if let Some(r) = &self.gemm.epilogue.residual {
                    let from = &r.rows.values[(place.group + row) * r.rows.stride + strip * LANES..][..n];
                    x = s.fma(s.load(&r.gamma[strip]), s.load_head(from), x);
                }
                let out = &mut self.gemm.output;
                let out_row = if out.keep { place.group + row } else { row };
                s.store_head(x, &mut out.values[out_row * out.stride + strip * LANES..][..n]);
                self.extremes[row].see_head(s, n, x);
            }
        }
    }

    /// Norm and quantisation of the group's rows.
    #[inline(always)]
    pub(super) fn end(&mut self, group: usize, rows: usize) {
        let (s, columns) = (self.s, self.columns);
        let out = &mut self.gemm.output;
        for row in 0..rows {
            let out_row = if out.keep { group + row } else { row };
            let x = &mut out.values[out_row * out.stride..][..columns];
            if let Some(norm) = self.gemm.epilogue.norm {
                normalize_row(s, x, norm);
            }
            if let Some(q) = &mut out.quantized {
                let extremes =
                    if self.gemm.epilogue.norm.is_some() { Extremes::of(s, x) } else { self.extremes[row] };
                let bytes = &mut q.values[(group + row) * q.stride..][..row_bytes(columns)];
                q.ranges[group + row] = quantize_row(s, x, extremes, q.levels, bytes);
            }
        }
    }
}

/// A tile's place in the result.
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
