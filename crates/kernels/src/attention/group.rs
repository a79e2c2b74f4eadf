//! The attention of a group of rows, whose scores fit the L1 cache.

use std::slice::{ChunksMut, IterMut};

use super::{ATTENTION_ROWS, Attention, slots};
use crate::gemm::{EachRow, PANEL_STRIPS, Registers, Sums, Tiles, each_in_memory, next_rows};
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
        head_size: usize,
        rows: (usize, usize),
        strips: (usize, usize),
        to: (&mut Sums, &mut Registers),
    );

    /// Passes on what [`Numbers::times_keys`] computes for [`PANEL_STRIPS`] strips from `strip` on.
    #[inline(always)]
    fn each_row_times_keys(
        self,
        s: S,
        head_size: usize,
        rows: (usize, usize),
        strip: usize,
        (sums, registers): (&mut Sums, &mut Registers),
        each: &mut impl EachRow<S::I>,
    ) {
        self.times_keys(s, head_size, rows, (strip, PANEL_STRIPS), (sums, registers));
        each_in_memory(s, &sums.0[..rows.1], each);
    }

    fn row(self, s: S, row: usize) -> Self::Row;

    /// The scores of a row for the sixteen keys of a strip.
    fn score(self, s: S, acc: S::I, row: Self::Row, strip: usize) -> S::F;

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
            let rows = (group + first, some);
            let place = Place { row: rows.0, strip, count };
            let (scores, largest) = (&mut a.scores[first * slots + strip * LANES..], &mut largest[first..]);
            if count == PANEL_STRIPS {
                let mut each = Scores::<S, N, true>::new(s, numbers, place, a.tokens, scores, largest);
                numbers.each_row_times_keys(s, a.head_size, rows, strip, (sums, registers), &mut each);
            } else {
                let mut each = Scores::<S, N, false>::new(s, numbers, place, a.tokens, scores, largest);
                numbers.times_keys(s, a.head_size, rows, (strip, count), (sums, registers));
                each_in_memory(s, &sums.0[..some], &mut each);
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

/// The place of a tile of scores: its first row, and the first of its strips of keys and their number.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    strip: usize,
    count: usize,
}

/// Stores the scores of a tile, row by row, and keeps the largest of each row. `WHOLE` says that the tile has
/// [`PANEL_STRIPS`] strips.
struct Scores<'p, S: Tiles, N, const WHOLE: bool> {
    s: S,
    numbers: N,
    place: Place,
    tokens: usize,
    scores: ChunksMut<'p, f32>,
    largest: IterMut<'p, S::F>,
}

impl<'p, S: Tiles, N, const WHOLE: bool> Scores<'p, S, N, WHOLE> {
    #[inline(always)]
    fn new(
        s: S,
        numbers: N,
        place: Place,
        tokens: usize,
        scores: &'p mut [f32],
        largest: &'p mut [S::F],
    ) -> Self {
        let scores = scores.chunks_mut(slots(tokens));
        Self { s, numbers, place, tokens, scores, largest: largest.iter_mut() }
    }
}

impl<S: Tiles, N: Numbers<S>, const WHOLE: bool> EachRow<S::I> for Scores<'_, S, N, WHOLE> {
    #[inline(always)]
    fn row(&mut self, row: usize, sums: [S::I; PANEL_STRIPS]) {
        let (s, Place { row: first, strip, count }) = (self.s, self.place);
        let Some((scores, largest)) = self.scores.next().zip(self.largest.next()) else { return };
        let constants = self.numbers.row(s, first + row);
        let count = if WHOLE { PANEL_STRIPS } else { count };
        let (vectors, _) = scores[..count * LANES].as_chunks_mut::<LANES>();
        let (mut high, mut last) = (*largest, *largest);
        for (v, sums) in sums.into_iter().enumerate().take(count) {
            let x = self.numbers.score(s, sums, constants, strip + v);
            s.store(x, &mut vectors[v]);
            last = high;
            high = s.max(x, high);
        }
        if strip + count == self.tokens.div_ceil(LANES) {
            high = without_padding(s, self.tokens, vectors, last);
        }
        *largest = high;
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
