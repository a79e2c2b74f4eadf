//! What follows the dot products of a tile, and of a row once all its columns are there.

use super::pack::Columns;
use super::tile::Tile;
use super::{GROUP_ROWS, Gemm, PANEL_STRIPS};
use crate::graph::Activation;
use crate::kernels::activation::{Function, Gelu, GeluNew, Identity, Relu, Tanh};
use crate::kernels::norm::normalize_row;
use crate::kernels::quantize::{Extremes, Levels, RowRange, quantize_row, row_bytes};
use crate::kernels::simd::{LANES, Simd};

/// Which extremes of its rows a tile keeps track of.
const NONE: u8 = 0;
const HIGH: u8 = 1;
const BOTH: u8 = 2;

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

/// The epilogue of one [`Gemm`].
pub(in crate::kernels) struct Finish<'g, 'a, S: Simd> {
    s: S,
    gemm: &'g mut Gemm<'a>,
    columns: usize,
    extremes: [Extremes<S>; GROUP_ROWS],
    track: u8,
    activation: Activation,
}

impl<'g, 'a, S: Simd> Finish<'g, 'a, S> {
    #[inline(always)]
    pub(super) fn new(s: S, gemm: &'g mut Gemm<'a>, columns: usize) -> Self {
        let levels = gemm.output.quantized.as_ref().map(|q| q.levels);
        let track = match (gemm.epilogue.norm, levels) {
            (None, Some(Levels::Full)) => BOTH,
            (None, Some(Levels::Unsigned)) => HIGH,
            _ => NONE,
        };
        // Quantising to unsigned levels turns negative numbers to 0, so ReLU is done if nobody else reads the numbers.
        let relu_comes_free =
            track == HIGH && !gemm.output.keep && gemm.epilogue.residual.is_none() && gemm.epilogue.activation == Activation::Relu;
        let activation = if relu_comes_free { Activation::Identity } else { gemm.epilogue.activation };
        Self { s, gemm, columns, extremes: [Extremes::new(s); GROUP_ROWS], track, activation }
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
        match (self.track, self.gemm.epilogue.residual.is_some()) {
            (NONE, false) => self.by_function::<NONE, false>(tile, place, scale),
            (NONE, true) => self.by_function::<NONE, true>(tile, place, scale),
            (HIGH, false) => self.by_function::<HIGH, false>(tile, place, scale),
            (HIGH, true) => self.by_function::<HIGH, true>(tile, place, scale),
            (_, false) => self.by_function::<BOTH, false>(tile, place, scale),
            (_, true) => self.by_function::<BOTH, true>(tile, place, scale),
        }
    }

    #[inline(always)]
    fn by_function<const TRACK: u8, const RESIDUAL: bool>(&mut self, tile: &Tile, place: Place, scale: impl Scale) {
        match self.activation {
            Activation::Identity => self.panel::<Identity, TRACK, RESIDUAL>(tile, place, scale),
            Activation::Relu => self.panel::<Relu, TRACK, RESIDUAL>(tile, place, scale),
            Activation::Gelu => self.panel::<Gelu, TRACK, RESIDUAL>(tile, place, scale),
            Activation::GeluNew => self.panel::<GeluNew, TRACK, RESIDUAL>(tile, place, scale),
            Activation::Tanh => self.panel::<Tanh, TRACK, RESIDUAL>(tile, place, scale),
        }
    }

    /// A panel of [`PANEL_STRIPS`] whole strips.
    #[inline(always)]
    fn panel<A: Function, const TRACK: u8, const RESIDUAL: bool>(
        &mut self,
        tile: &Tile,
        place: Place,
        scale: impl Scale,
    ) {
        let s = self.s;
        let column = place.strip * LANES;
        let out = &mut self.gemm.output;
        let residual = self.gemm.epilogue.residual.filter(|_| RESIDUAL);
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
                match TRACK {
                    NONE => {}
                    HIGH => extremes.high = s.max(x, extremes.high),
                    _ => extremes.see(s, x),
                }
            }
            self.extremes[row] = extremes;
        }
    }

    /// The last panel of a linear whose number of columns is no multiple of 64.
    #[inline(always)]
    fn narrow_panel(&mut self, tile: &Tile, place: Place, scale: impl Scale) {
        let s = self.s;
        for (row, acc) in (place.row..place.row + place.rows).zip(&tile.0) {
            let range = scale.range(place.group + row);
            let range = (s.splat(range.scale), s.splat(range.offset));
            for (strip, acc) in (place.strip..place.strip + place.strips).zip(acc) {
                let n = LANES.min(self.columns - strip * LANES);
                let mut x = scale.linear(s, acc, range, strip);
                x = match self.activation {
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
                let extremes = if self.track == NONE { Extremes::of(s, x) } else { self.extremes[row] };
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

