//! The steps of attention in int8 and in f32.

use super::group::Numbers;
use super::{ATTENTION_ROWS, Attention, KeysValuesF32, KeysValuesI8, slots};
use crate::activation::{exp2, exp2_coarse};
use crate::aligned::Line;
use crate::gemm::{EachRow, FloatRows, PANEL_STRIPS, Registers, Strips, Sums, Tiles};
use crate::quantize::{Levels, QuantizedRows, Ranges, RowRange, narrow_row, row_bytes, sixteen};
use crate::simd::{LANES, Simd};

/// Quantised queries, and int8 keys and values.
#[derive(Clone, Copy)]
pub(super) struct Int8<'a>(pub(super) QuantizedRows<'a>, pub(super) KeysValuesI8<'a>);

impl<S: Tiles> Numbers<S> for Int8<'_> {
    const ROWS: usize = S::ROWS_I8;
    /// Scale and offset of the query.
    type Row = (S::F, S::F);

    #[inline(always)]
    fn times_keys(
        self,
        s: S,
        head_size: usize,
        (row, rows): (usize, usize),
        (strip, count): (usize, usize),
        (sums, registers): (&mut Sums, &mut Registers),
    ) {
        let Self(q, kv) = self;
        let depth = head_size.div_ceil(4);
        let keys = Strips { lines: &kv.keys[strip * depth..], apart: depth, step: 1, depth, count };
        s.dot_tile(rows, (&q.values[row * q.stride..], q.stride), keys, sums, registers);
    }

    #[inline(always)]
    fn each_row_times_keys(
        self,
        s: S,
        head_size: usize,
        (row, rows): (usize, usize),
        strip: usize,
        to: (&mut Sums, &mut Registers),
        each: &mut impl EachRow<S::I>,
    ) {
        let Self(q, kv) = self;
        let depth = head_size.div_ceil(4);
        let lines = &kv.keys[strip * depth..];
        let keys = Strips { lines, apart: depth, step: 1, depth, count: PANEL_STRIPS };
        s.each_dot_row(rows, (&q.values[row * q.stride..], q.stride), keys, to, each);
    }

    #[inline(always)]
    fn row(self, s: S, row: usize) -> (S::F, S::F) {
        let range = self.0.ranges[row];
        (s.splat(range.scale), s.splat(range.offset))
    }

    #[inline(always)]
    fn score(self, s: S, acc: S::I, (scale, offset): (S::F, S::F), strip: usize) -> S::F {
        let k = &self.1.key_scales[strip];
        let x = s.mul(s.to_float(acc), scale);
        s.fma(x, s.load(&k.scale), s.mul(offset, s.load(&k.offset_scale)))
    }

    /// Quantises the weights, each multiplied by the scale of its value. Each step has a loop over the rows,
    /// so that its serial part (maxima and sums across lanes, divisions) overlaps with that of the others.
    #[inline(always)]
    fn weights(self, s: S, a: &mut Attention<'_>, largest: &[S::F]) -> [f32; ATTENTION_ROWS] {
        let (slots, rows) = (slots(a.tokens), largest.len());
        let mut shifts = [0.0; ATTENTION_ROWS];
        for (shifts, largest) in shifts.as_chunks_mut().0.iter_mut().zip(largest.chunks(LANES)) {
            s.store(s.largest_each(sixteen(largest, s.zero())), shifts);
        }
        let (mut sums, mut highs) = ([s.zero(); ATTENTION_ROWS], [s.zero(); ATTENTION_ROWS]);
        let scores = a.scores.chunks_exact_mut(slots);
        for (((sum, high), scores), largest) in
            sums[..rows].iter_mut().zip(&mut highs).zip(scores).zip(shifts)
        {
            let scales = Some(self.1.value_scales);
            (*sum, *high) = softmax::<S, true>(s, &mut scores[..a.tokens], a.scale, largest, scales);
        }
        let (mut factors, mut inverses) = ([0.0; ATTENTION_ROWS], [0.0; ATTENTION_ROWS]);
        let (sums, highs) = (sums[..rows].chunks(LANES), highs[..rows].chunks(LANES));
        let to = factors.as_chunks_mut().0.iter_mut().zip(inverses.as_chunks_mut().0);
        for ((factors, inverses), (sums, highs)) in to.zip(sums.zip(highs)) {
            let high = s.largest_each(sixteen(highs, s.zero()));
            let ranges = Ranges::new(s, high, high, Levels::Unsigned);
            let sum = s.sum_each(sixteen(sums, s.zero()));
            s.store(s.mul(ranges.scale, s.div(s.splat(1.0), sum)), factors);
            s.store(ranges.inverse, inverses);
        }
        let weights = a.weights.chunks_exact_mut(slots).zip(a.scores.chunks_exact(slots));
        for ((weights, scores), inverse) in weights.zip(inverses).take(rows) {
            let row = RowRange { scale: 0.0, offset: 0.0 };
            narrow_row(s, &scores[..a.tokens], row, inverse, &mut weights[..row_bytes(a.tokens)]);
        }
        factors
    }

    #[inline(always)]
    fn times_values(
        self,
        s: S,
        a: &Attention<'_>,
        (row, rows): (usize, usize),
        (strip, count): (usize, usize),
        (sums, registers): (&mut Sums, &mut Registers),
    ) {
        let slots = slots(a.tokens);
        let lines = &self.1.values[strip * slots / 4..];
        let values = Strips { lines, apart: slots / 4, step: 1, depth: a.tokens.div_ceil(4), count };
        s.dot_tile(rows, (&a.weights[row * slots..], slots), values, sums, registers);
    }

    #[inline(always)]
    fn sum(s: S, acc: &[i32; LANES]) -> S::F {
        s.to_float(s.load_int(acc))
    }
}

/// Queries, keys and values in f32.
#[derive(Clone, Copy)]
pub(super) struct F32<'a>(pub(super) FloatRows<'a>, pub(super) KeysValuesF32<'a>);

impl<S: Tiles> Numbers<S> for F32<'_> {
    const ROWS: usize = S::ROWS_F32;
    type Row = ();

    #[inline(always)]
    fn times_keys(
        self,
        s: S,
        depth: usize,
        (row, rows): (usize, usize),
        (strip, count): (usize, usize),
        (sums, _): (&mut Sums, &mut Registers),
    ) {
        let Self(q, kv) = self;
        let keys = Strips { lines: &kv.keys[strip * depth..], apart: depth, step: 1, depth, count };
        s.fma_tile(rows, (&q.values[row * q.stride..], q.stride), keys, sums);
    }

    #[inline(always)]
    fn row(self, _: S, _: usize) {}

    #[inline(always)]
    fn score(self, s: S, acc: S::I, (): (), _: usize) -> S::F {
        s.from_bits(acc)
    }

    #[inline(always)]
    fn weights(self, s: S, a: &mut Attention<'_>, largest: &[S::F]) -> [f32; ATTENTION_ROWS] {
        let mut factors = [0.0; ATTENTION_ROWS];
        let rows = factors.iter_mut().zip(a.scores.chunks_exact_mut(slots(a.tokens)));
        for ((factor, scores), &largest) in rows.zip(largest) {
            let scores = &mut scores[..a.tokens];
            *factor = 1.0 / s.sum(softmax::<S, false>(s, scores, a.scale, s.largest(largest), None).0);
        }
        factors
    }

    #[inline(always)]
    fn times_values(
        self,
        s: S,
        a: &Attention<'_>,
        (row, rows): (usize, usize),
        (strip, count): (usize, usize),
        (sums, _): (&mut Sums, &mut Registers),
    ) {
        let slots = slots(a.tokens);
        let lines = &self.1.values[strip * slots..];
        let values = Strips { lines, apart: slots, step: 1, depth: a.tokens, count };
        s.fma_tile(rows, (&a.scores[row * slots..], slots), values, sums);
    }

    #[inline(always)]
    fn sum(s: S, acc: &[i32; LANES]) -> S::F {
        s.from_bits(s.load_int(acc))
    }
}

/// Replaces scores by `exp(scale * (score - largest))`, multiplied by the token's value scale if there are
/// any. Returns, lane by lane, the sum of the exponentials and the maximum of the products with the value
/// scales.
#[inline(always)]
fn softmax<S: Simd, const COARSE: bool>(
    s: S,
    scores: &mut [f32],
    scale: f32,
    largest: f32,
    value_scales: Option<&[Line<[f32; LANES]>]>,
) -> (S::F, S::F) {
    let c = scale * std::f32::consts::LOG2_E;
    let (shift, c) = (s.splat(-largest * c), s.splat(c));
    let (mut sum, mut high) = (s.zero(), s.splat(f32::NEG_INFINITY));
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for (i, x) in whole.iter_mut().enumerate() {
        let mut e = exponential::<S, COARSE>(s, s.fma(s.load(x), c, shift));
        sum = s.add(sum, e);
        if let Some(value_scales) = value_scales {
            e = s.mul(e, s.load(&value_scales[i].0));
            high = s.max(e, high);
        }
        s.store(e, x);
    }
    if !rest.is_empty() {
        let mut e =
            s.head(rest.len(), exponential::<S, COARSE>(s, s.fma(s.load_head(rest), c, shift)), s.zero());
        sum = s.add(sum, e);
        if let Some(value_scales) = value_scales {
            e = s.mul(e, s.load(&value_scales[whole.len()].0));
            high = s.head(rest.len(), s.max(e, high), high);
        }
        s.store_head(e, rest);
    }
    (sum, high)
}

#[inline(always)]
fn exponential<S: Simd, const COARSE: bool>(s: S, t: S::F) -> S::F {
    if COARSE { exp2_coarse(s, t) } else { exp2(s, t) }
}
