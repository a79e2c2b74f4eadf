//! The attention of a group of rows, whose scores fit the L1 cache.

use super::{ATTENTION_ROWS, Attention, slots};
use crate::gemm::{PANEL_STRIPS, Registers, Sums, Tiles, next_rows};
use crate::simd::{LANES, Simd};

/// What differs between int8 and f32 in the attention of a group of rows.
pub(super) trait Numbers<S: Tiles>: Copy {
    /// Rows of a tile.
    const ROWS: usize;
    /// The constants of a row of scores.
    type Row: Copy;

    /// Multiplies queries, `rows` from `row` on, by the keys of `count` strips from `strip` on.
    fn times_keys(
        self,
        s: S,
        a: &Attention<'_>,
        rows: (usize, usize),
        strips: (usize, usize),
        to: (&mut Sums, &mut Registers),
    );

    fn row(self, s: S, row: usize) -> Self::Row;

    /// The scores of a row for the sixteen keys of a strip.
    fn score(self, s: S, acc: &[i32; LANES], row: Self::Row, strip: usize) -> S::F;

    /// Turns the scores of rows, each with its maximum, into weights. Returns the factors that are left for
    /// the result.
    fn weights(self, s: S, a: &mut Attention<'_>, largest: &[S::F]) -> [f32; ATTENTION_ROWS];

    /// Multiplies weights, `rows` from `row` of the group on, by the values of `count` strips from `strip`
    /// on.
    fn times_values(
        self,
        s: S,
        a: &Attention<'_>,
        rows: (usize, usize),
        strips: (usize, usize),
        to: (&mut Sums, &mut Registers),
    );

    /// The sums of [`Numbers::times_values`] in f32.
    fn sum(s: S, acc: &[i32; LANES]) -> S::F;
}

/// Computes the attention of `rows` query rows from `group` on: all scores, then the weights, then the
/// result.
#[inline(always)]
pub(super) fn attend<S: Tiles, N: Numbers<S>>(
    s: S,
    numbers: N,
    a: &mut Attention<'_>,
    (group, rows): (usize, usize),
    (sums, registers): (&mut Sums, &mut Registers),
) {
    let slots = slots(a.tokens);
    let strips = slots / LANES;
    let mut largest = [s.splat(f32::NEG_INFINITY); ATTENTION_ROWS];
    for strip in (0..strips).step_by(PANEL_STRIPS) {
        let count = PANEL_STRIPS.min(strips - strip);
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, N::ROWS);
            numbers.times_keys(s, a, (group + first, some), (strip, count), (sums, registers));
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let constants = numbers.row(s, group + row);
                let scores = &mut a.scores[row * slots + strip * LANES..][..count * LANES];
                let (mut high, mut last) = (largest[row], largest[row]);
                let (vectors, _) = scores.as_chunks_mut::<LANES>();
                for ((to, acc), strip) in vectors.iter_mut().zip(acc).zip(strip..) {
                    let x = numbers.score(s, acc, constants, strip);
                    s.store(x, to);
                    last = high;
                    high = s.max(x, high);
                }
                if strip + count == strips {
                    high = without_padding(s, a.tokens, vectors, last);
                }
                largest[row] = high;
            }
            first += some;
        }
    }
    let factors = numbers.weights(s, a, &largest[..rows]);
    let dimensions = a.head_size.div_ceil(LANES);
    for strip in (0..dimensions).step_by(PANEL_STRIPS) {
        let count = PANEL_STRIPS.min(dimensions - strip);
        let mut first = 0;
        while first < rows {
            let some = next_rows(rows - first, N::ROWS);
            numbers.times_values(s, a, (first, some), (strip, count), (sums, registers));
            for (row, acc) in (first..first + some).zip(&sums.0) {
                let factor = s.splat(factors[row]);
                for (strip, acc) in (strip..strip + count).zip(acc) {
                    put(s, a, group + row, strip, s.mul(N::sum(s, acc), factor));
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
