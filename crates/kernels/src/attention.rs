//! Attention of some query rows of one head over the keys and values of a sequence. There is no matrix of all
//! scores: a group of rows keeps its scores in the L1 cache from the dot products to the weighted sum.

use super::activation::{exp2, exp2_coarse};
use super::aligned::Line;
use super::gemm::{FloatRows, PANEL_STRIPS, Registers, Strips, Sums, Tiles, next_rows};
use super::quantize::{Levels, QuantizedRows, RowRange, narrow_row, range, row_bytes};
use super::simd::{LANES, Simd};

/// Most query rows of a group on any instruction set.
pub const ATTENTION_ROWS: usize = 32;

/// Keys and values of one head of one sequence in int8, symmetric with one scale per token. Sixteen
/// dimensions of the values take [`slots`] / 4 lines.
#[derive(Debug, Clone, Copy)]
pub struct KeysValuesI8<'a> {
    /// `[token / 16][dimension / 4][16 tokens][4 dimensions]`
    pub keys: &'a [Line<[i8; 64]>],
    /// One per sixteen tokens.
    pub key_scales: &'a [KeyScales],
    /// `[dimension / 16][token / 4][16 dimensions][4 tokens]`
    pub values: &'a [Line<[i8; 64]>],
    /// One per token.
    pub value_scales: &'a [Line<[f32; 16]>],
}

/// Scales of the keys of sixteen tokens.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct KeyScales {
    pub(super) scale: [f32; 16],
    /// The scale times the sum of the key.
    pub(super) offset_scale: [f32; 16],
}

/// Keys and values of one head of one sequence in f32. Sixteen dimensions of the values take [`slots`] lines.
#[derive(Debug, Clone, Copy)]
pub struct KeysValuesF32<'a> {
    /// `[token / 16][dimension][16 tokens]`
    pub keys: &'a [Line<[f32; 16]>],
    /// `[dimension / 16][token][16 dimensions]`
    pub values: &'a [Line<[f32; 16]>],
}

/// Queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub enum AttentionInput<'a> {
    /// Queries that are quantised row by row over the head, and int8 keys and values.
    Int8(QuantizedRows<'a>, KeysValuesI8<'a>),
    /// Queries, keys and values in f32.
    F32(FloatRows<'a>, KeysValuesF32<'a>),
}

/// `softmax(scale * query * key^T) * value` of one head of one sequence.
#[derive(Debug)]
pub struct Attention<'a> {
    /// Query rows.
    pub rows: usize,
    /// Tokens of the sequence.
    pub tokens: usize,
    /// Columns of the head.
    pub head_size: usize,
    /// The factor of the scores before the softmax.
    pub scale: f32,
    /// Queries, keys and values.
    pub input: AttentionInput<'a>,
    /// Room for [`ATTENTION_ROWS`] rows of [`slots`] scores.
    pub scores: &'a mut [f32],
    /// Room for as many bytes; f32 does not use it.
    pub weights: &'a mut [u8],
    /// The result, from the first column of the head on.
    pub output: &'a mut [f32],
    /// Numbers from one row of the result to the next.
    pub stride: usize,
}

/// The number of tokens rounded up to a multiple of 16, which keys and values have room for.
pub fn slots(tokens: usize) -> usize {
    tokens.next_multiple_of(LANES)
}

impl Attention<'_> {
    /// Panics unless every slice holds what the kernels will read and write.
    pub(super) fn check(&self) {
        let (strips, dimensions, slots) =
            (self.tokens.div_ceil(16), self.head_size.div_ceil(16), slots(self.tokens));
        match &self.input {
            AttentionInput::Int8(q, kv) => {
                assert!(q.holds(self.rows, self.head_size), "queries are too short");
                assert!(kv.keys.len() >= strips * self.head_size.div_ceil(4), "keys are too short");
                assert!(
                    kv.key_scales.len() >= strips && kv.value_scales.len() >= strips,
                    "scales are too short"
                );
                assert!(kv.values.len() >= dimensions * slots / 4, "values are too short");
                assert!(self.weights.len() >= ATTENTION_ROWS * slots, "scratch is too short");
            }
            AttentionInput::F32(q, kv) => {
                assert!(q.holds(self.rows, self.head_size), "queries are too short");
                assert!(kv.keys.len() >= strips * self.head_size, "keys are too short");
                assert!(kv.values.len() >= dimensions * slots, "values are too short");
            }
        }
        assert!(self.scores.len() >= ATTENTION_ROWS * slots, "scratch is too short");
        let output = FloatRows { values: self.output, stride: self.stride };
        assert!(output.holds(self.rows, self.head_size), "output is too short");
    }
}

/// Most tokens for which a group has twice as many rows. The scores and weights of 32 rows then take 40 kB.
const WIDEST_GROUP: usize = 256;

/// Runs an attention whose slices have been checked.
#[inline(always)]
pub(super) fn attention<S: Tiles>(s: S, mut a: Attention<'_>) {
    if a.tokens == 0 {
        return;
    }
    let (mut sums, mut registers) = (Sums::ZERO, Registers::default());
    let mut group = 0;
    while group < a.rows {
        // Groups are twice as large as long as their scores fit the L1 cache.
        let limit = if a.tokens <= WIDEST_GROUP { 2 * S::GROUP } else { S::GROUP };
        let rows = next_rows(a.rows - group, limit);
        match a.input {
            AttentionInput::Int8(q, kv) => {
                group_i8(s, &mut a, (q, kv), (group, rows), (&mut sums, &mut registers))
            }
            AttentionInput::F32(q, kv) => group_f32(s, &mut a, (q, kv), (group, rows), &mut sums),
        }
        group += rows;
    }
    s.end_tiles(registers);
}

#[inline(always)]
fn group_i8<S: Tiles>(
    s: S,
    a: &mut Attention<'_>,
    (q, kv): (QuantizedRows<'_>, KeysValuesI8<'_>),
    (group, rows): (usize, usize),
    (sums, registers): (&mut Sums, &mut Registers),
) {
    let slots = slots(a.tokens);
    let (strips, depth) = (slots / LANES, a.head_size.div_ceil(4));
    let mut largest = [s.splat(f32::NEG_INFINITY); ATTENTION_ROWS];
    for strip in (0..strips).step_by(PANEL_STRIPS) {
        let panel = Strips {
            lines: &kv.keys[strip * depth..],
            stride: depth,
            depth,
            count: PANEL_STRIPS.min(strips - strip),
        };
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, S::ROWS_I8);
            s.dot_tile(some, (&q.values[(group + first) * q.stride..], q.stride), panel, sums, registers);
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let range = q.ranges[group + row];
                let (scale, offset) = (s.splat(range.scale), s.splat(range.offset));
                let scores = &mut a.scores[row * slots + strip * LANES..][..panel.count * LANES];
                let (mut high, mut last) = (largest[row], largest[row]);
                let keys = &kv.key_scales[strip..][..panel.count];
                let (vectors, _) = scores.as_chunks_mut::<LANES>();
                for ((to, acc), k) in vectors.iter_mut().zip(acc).zip(keys) {
                    let x = s.mul(s.to_float(s.load_int(acc)), scale);
                    let x = s.fma(x, s.load(&k.scale), s.mul(offset, s.load(&k.offset_scale)));
                    s.store(x, to);
                    last = high;
                    high = s.max(x, high);
                }
                if strip + panel.count == strips {
                    high = without_padding(s, a.tokens, vectors, last);
                }
                largest[row] = high;
            }
            first += some;
        }
    }
    // Each step has a loop over the rows, so that its serial part (maxima and sums across lanes, divisions)
    // overlaps with that of the other rows.
    let mut shifts = [0.0; ATTENTION_ROWS];
    for (shift, largest) in shifts[..rows].iter_mut().zip(largest) {
        *shift = s.largest(largest);
    }
    let mut sums_highs = [(s.zero(), s.zero()); ATTENTION_ROWS];
    let scores = a.scores.chunks_exact_mut(slots);
    for ((to, scores), largest) in sums_highs[..rows].iter_mut().zip(scores).zip(shifts) {
        *to = softmax::<S, true>(s, &mut scores[..a.tokens], a.scale, largest, Some(kv.value_scales));
    }
    let (mut output_scales, mut inverses) = ([0.0; ATTENTION_ROWS], [0.0; ATTENTION_ROWS]);
    let all = output_scales[..rows].iter_mut().zip(&mut inverses).zip(sums_highs);
    for ((scale, inverse), (sum, high)) in all {
        let high = s.largest(high);
        let (row, inverse_scale) = range(high, high, Levels::Unsigned);
        (*scale, *inverse) = (row.scale * (1.0 / s.sum(sum)), inverse_scale);
    }
    let weights = a.weights.chunks_exact_mut(slots).zip(a.scores.chunks_exact(slots));
    for ((weights, scores), inverse) in weights.zip(inverses).take(rows) {
        let row = RowRange { scale: 0.0, offset: 0.0 };
        narrow_row(s, &scores[..a.tokens], row, inverse, &mut weights[..row_bytes(a.tokens)]);
    }
    let dimensions = a.head_size.div_ceil(LANES);
    for strip in (0..dimensions).step_by(PANEL_STRIPS) {
        let lines = &kv.values[strip * slots / 4..];
        let count = PANEL_STRIPS.min(dimensions - strip);
        let panel = Strips { lines, stride: slots / 4, depth: a.tokens.div_ceil(4), count };
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, S::ROWS_I8);
            s.dot_tile(some, (&a.weights[first * slots..], slots), panel, sums, registers);
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let scale = s.splat(output_scales[row]);
                for (v, acc) in acc[..count].iter().enumerate() {
                    put(s, a, group + row, strip + v, s.mul(s.to_float(s.load_int(acc)), scale));
                }
            }
            first += some;
        }
    }
}

#[inline(always)]
fn group_f32<S: Tiles>(
    s: S,
    a: &mut Attention<'_>,
    (q, kv): (FloatRows<'_>, KeysValuesF32<'_>),
    (group, rows): (usize, usize),
    sums: &mut Sums,
) {
    let slots = slots(a.tokens);
    let (strips, depth) = (slots / LANES, a.head_size);
    let mut largest = [s.splat(f32::NEG_INFINITY); ATTENTION_ROWS];
    for strip in (0..strips).step_by(PANEL_STRIPS) {
        let panel = Strips {
            lines: &kv.keys[strip * depth..],
            stride: depth,
            depth,
            count: PANEL_STRIPS.min(strips - strip),
        };
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, S::ROWS_F32);
            s.fma_tile(some, (&q.values[(group + first) * q.stride..], q.stride), panel, sums);
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let scores = &mut a.scores[row * slots + strip * LANES..][..panel.count * LANES];
                let (mut high, mut last) = (largest[row], largest[row]);
                let (vectors, _) = scores.as_chunks_mut::<LANES>();
                for (to, acc) in vectors.iter_mut().zip(acc) {
                    let x = s.from_bits(s.load_int(acc));
                    s.store(x, to);
                    last = high;
                    high = s.max(x, high);
                }
                if strip + panel.count == strips {
                    high = without_padding(s, a.tokens, vectors, last);
                }
                largest[row] = high;
            }
            first += some;
        }
    }
    let mut inverse = [0.0; ATTENTION_ROWS];
    for row in 0..rows {
        let scores = &mut a.scores[row * slots..][..a.tokens];
        inverse[row] = 1.0 / s.sum(softmax::<S, false>(s, scores, a.scale, s.largest(largest[row]), None).0);
    }
    let dimensions = a.head_size.div_ceil(LANES);
    for strip in (0..dimensions).step_by(PANEL_STRIPS) {
        let count = PANEL_STRIPS.min(dimensions - strip);
        let panel = Strips { lines: &kv.values[strip * slots..], stride: slots, depth: a.tokens, count };
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, S::ROWS_F32);
            s.fma_tile(some, (&a.scores[first * slots..], slots), panel, sums);
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let scale = s.splat(inverse[row]);
                for (v, acc) in acc[..count].iter().enumerate() {
                    put(s, a, group + row, strip + v, s.mul(s.from_bits(s.load_int(acc)), scale));
                }
            }
            first += some;
        }
    }
}

/// The maximum of `high` and the last vector, without the lanes beyond the last token.
#[inline(always)]
fn without_padding<S: Simd>(s: S, tokens: usize, vectors: &[[f32; LANES]], high: S::F) -> S::F {
    let n = (tokens - 1) % LANES + 1;
    match vectors.last() {
        Some(x) => s.head(n, s.max(s.load(x), high), high),
        None => high,
    }
}

/// Stores sixteen columns of a row of the result, or fewer at the end of the head.
#[inline(always)]
fn put<S: Simd>(s: S, a: &mut Attention<'_>, row: usize, strip: usize, x: S::F) {
    let to = &mut a.output[row * a.stride + strip * LANES..];
    let n = a.head_size - strip * LANES;
    if n >= LANES {
        if let Some(to) = to.first_chunk_mut() {
            s.store(x, to);
        }
    } else {
        s.store_head(x, &mut to[..n]);
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
