//! Quantises rows of f32 to u8, each with a range of its own, and keys and values to symmetric i8.

use super::gemm::fits;
use super::reference::quantize::{LARGEST, SMALLEST_RANGE};
pub use super::reference::quantize::{Levels, RowRange};
use super::simd::{LANES, Simd};

/// Quantised rows that a linear reads.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedRows<'a> {
    /// Row-major, see [`row_bytes`].
    pub values: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// One per row.
    pub ranges: &'a [RowRange],
}

impl QuantizedRows<'_> {
    pub(super) fn holds(&self, rows: usize, width: usize) -> bool {
        holds(self.values.len(), self.stride, self.ranges.len(), rows, width)
    }
}

/// Quantised rows that a kernel writes.
#[derive(Debug)]
pub struct QuantizedRowsMut<'a> {
    /// Row-major, see [`row_bytes`].
    pub values: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// One per row.
    pub ranges: &'a mut [RowRange],
    /// The format to quantise to.
    pub levels: Levels,
}

impl QuantizedRowsMut<'_> {
    pub(super) fn holds(&self, rows: usize, width: usize) -> bool {
        holds(self.values.len(), self.stride, self.ranges.len(), rows, width)
    }
}

fn holds(bytes: usize, stride: usize, ranges: usize, rows: usize, width: usize) -> bool {
    rows == 0 || (stride >= row_bytes(width) && fits(bytes, rows, stride, row_bytes(width)) && ranges >= rows)
}

/// Bytes of a quantised row of `width` numbers. It is a multiple of four, because dot products take four
/// bytes at a time. The bytes beyond `width` are multiplied by zero weights.
pub fn row_bytes(width: usize) -> usize {
    width.next_multiple_of(4)
}

/// The smallest and largest value of a row so far, lane by lane. NaNs do not change it.
#[derive(Clone, Copy)]
pub(super) struct Extremes<S: Simd> {
    pub(super) low: S::F,
    pub(super) high: S::F,
}

impl<S: Simd> Extremes<S> {
    #[inline(always)]
    pub(super) fn new(s: S) -> Self {
        Self { low: s.splat(f32::INFINITY), high: s.splat(f32::NEG_INFINITY) }
    }

    #[inline(always)]
    pub(super) fn see(&mut self, s: S, x: S::F) {
        self.low = s.min(x, self.low);
        self.high = s.max(x, self.high);
    }

    #[inline(always)]
    pub(super) fn see_head(&mut self, s: S, n: usize, x: S::F) {
        self.low = s.head(n, s.min(x, self.low), self.low);
        self.high = s.head(n, s.max(x, self.high), self.high);
    }

    #[inline(always)]
    pub(super) fn of(s: S, x: &[f32]) -> Self {
        let mut extremes = Self::new(s);
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            extremes.see(s, s.load(x));
        }
        extremes.see_head(s, rest.len(), s.load_head(rest));
        extremes
    }
}

/// Sixteen values of a slice. The last one stands for those that are missing.
#[inline(always)]
pub(super) fn sixteen<T: Copy>(x: &[T], none: T) -> [T; LANES] {
    let mut out = [none; LANES];
    if let Some(last) = x.len().checked_sub(1) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = x[i.min(last)];
        }
    }
    out
}

/// The ranges of sixteen rows, and the inverses of their scales.
#[derive(Clone, Copy)]
pub(super) struct Ranges<S: Simd> {
    pub(super) scale: S::F,
    offset: S::F,
    pub(super) inverse: S::F,
}

impl<S: Simd> Ranges<S> {
    /// Computes what [`super::reference::quantize::range`] computes, for sixteen rows at once.
    #[inline(always)]
    pub(super) fn new(s: S, low: S::F, high: S::F, levels: Levels) -> Self {
        let (largest, lowest) = (s.splat(LARGEST), s.splat(-LARGEST));
        let high = s.max(s.min(high, largest), lowest);
        let offset = if levels == Levels::Unsigned {
            s.zero()
        } else {
            let low = s.min(s.max(low, lowest), largest);
            s.at_least(high, low, s.add(low, s.zero()))
        };
        let (width, smallest, steps) = (s.sub(high, offset), s.splat(SMALLEST_RANGE), s.splat(255.0));
        let scale = s.at_least(width, smallest, s.div(width, steps));
        let inverse = s.at_least(width, smallest, s.div(steps, width));
        Self { scale, offset, inverse }
    }

    /// Computes the ranges of up to sixteen rows with these extremes.
    #[inline(always)]
    fn of(s: S, extremes: &[Extremes<S>], levels: Levels) -> Self {
        let extremes = sixteen(extremes, Extremes::new(s));
        let (mut lows, mut highs) = ([s.zero(); LANES], [s.zero(); LANES]);
        for ((low, high), of) in lows.iter_mut().zip(&mut highs).zip(extremes) {
            (*low, *high) = (of.low, of.high);
        }
        let high = s.largest_each(highs);
        let low = if levels == Levels::Unsigned { high } else { s.smallest_each(lows) };
        Self::new(s, low, high, levels)
    }
}

/// Computes the ranges of rows and the inverses of their scales, sixteen rows at a time.
#[inline(always)]
pub(super) fn ranges<S: Simd>(
    s: S,
    extremes: &[Extremes<S>],
    levels: Levels,
    to: &mut [RowRange],
    inverses: &mut [f32],
) {
    let chunks = extremes.chunks(LANES).zip(to.chunks_mut(LANES)).zip(inverses.chunks_mut(LANES));
    for ((extremes, to), inverses) in chunks {
        let ranges = Ranges::of(s, extremes, levels);
        let (mut scale, mut offset, mut inverse) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        s.store(ranges.scale, &mut scale);
        s.store(ranges.offset, &mut offset);
        s.store(ranges.inverse, &mut inverse);
        for ((to, scale), offset) in to.iter_mut().zip(scale).zip(offset) {
            *to = RowRange { scale, offset };
        }
        for (to, inverse) in inverses.iter_mut().zip(inverse) {
            *to = inverse;
        }
    }
}

/// Quantises a row by a known range.
#[inline(always)]
pub(super) fn narrow_row<S: Simd>(s: S, x: &[f32], row: RowRange, inverse: f32, q: &mut [u8]) {
    let shift = s.splat(-row.offset * inverse);
    let (inverse, zero) = (s.splat(inverse), s.to_int(s.zero()));
    let (whole, rest) = x.as_chunks::<64>();
    let (to, to_rest) = q.as_chunks_mut::<64>();
    for (x, to) in whole.iter().zip(&mut *to) {
        let (x, _) = x.as_chunks::<LANES>();
        let mut q = [zero; 4];
        for (q, x) in q.iter_mut().zip(x) {
            *q = s.levels(s.load(x), inverse, shift);
        }
        s.narrow(q, to);
    }
    if !rest.is_empty() {
        let mut last = [zero; 4];
        let (vectors, head) = rest.as_chunks::<LANES>();
        for (q, x) in last.iter_mut().zip(vectors) {
            *q = s.levels(s.load(x), inverse, shift);
        }
        if !head.is_empty() {
            let x = s.fma(s.load_head(head), inverse, shift);
            last[vectors.len()] = s.to_int(s.head(head.len(), x, s.zero()));
        }
        let mut bytes = [0; 64];
        s.narrow(last, &mut bytes);
        let to = to.get_mut(whole.len()).map_or(to_rest, |to| to);
        let n = row_bytes(rest.len());
        match (to.first_chunk_mut::<32>(), bytes.first_chunk::<32>()) {
            // The width of a head. A copy of known size takes no call.
            (Some(to), Some(bytes)) if n == 32 => *to = *bytes,
            _ => to[..n].copy_from_slice(&bytes[..n]),
        }
    }
}

/// Computes [`super::reference::quantize::round_row`] without branches, so that it runs on vectors. The bytes
/// beyond the numbers become 0.
#[inline(always)]
pub(super) fn round_row(x: &[f32], to: &mut [u8]) {
    let (whole, rest) = to.split_at_mut(2 * x.len());
    for (x, to) in x.iter().zip(whole.as_chunks_mut::<2>().0) {
        let bits = x.to_bits();
        let rounded = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
        let quiet = (bits >> 16) as u16 | 0x40;
        *to = if x.is_nan() { quiet } else { rounded }.to_ne_bytes();
    }
    rest.fill(0);
}

/// Quantises `rows` rows of `width` numbers. It takes several at a time, so that their serial parts overlap.
#[inline(always)]
pub(super) fn quantize_rows<S: Simd>(
    s: S,
    rows: usize,
    width: usize,
    x: super::gemm::FloatRows<'_>,
    to: QuantizedRowsMut<'_>,
) {
    const SOME: usize = LANES;
    if to.levels == Levels::Bf16 {
        for row in 0..rows {
            round_row(x.row(row, width), &mut to.values[row * to.stride..][..row_bytes(2 * width)]);
        }
        return;
    }
    for first in (0..rows).step_by(SOME) {
        let some = SOME.min(rows - first);
        let mut extremes = [Extremes::new(s); SOME];
        for (i, extremes) in extremes[..some].iter_mut().enumerate() {
            *extremes = Extremes::of(s, x.row(first + i, width));
        }
        let mut inverses = [0.0; SOME];
        let ranges = &mut to.ranges[first..first + some];
        self::ranges(s, &extremes[..some], to.levels, ranges, &mut inverses);
        for (i, (range_of, inverse)) in ranges.iter().zip(inverses).enumerate() {
            let q = &mut to.values[(first + i) * to.stride..][..row_bytes(width)];
            narrow_row(s, x.row(first + i, width), *range_of, inverse, q);
        }
    }
}

/// Computes [`super::reference::quantize::symmetric_scale`] of sixteen magnitudes.
#[inline(always)]
pub(super) fn symmetric_scales<S: Simd>(s: S, magnitudes: S::F) -> S::F {
    let m = s.min(magnitudes, s.splat(LARGEST));
    s.at_least(m, s.splat(SMALLEST_RANGE), s.div(m, s.splat(127.0)))
}

/// Computes [`super::reference::quantize::inverse`] of sixteen scales, none of which is below 0 or subnormal.
#[inline(always)]
pub(super) fn inverses<S: Simd>(s: S, scales: S::F) -> S::F {
    s.at_least(scales, s.splat(f32::MIN_POSITIVE), s.div(s.splat(1.0), scales))
}

/// `to_int(max(min(x * inverse, 127), -127))`
#[inline(always)]
pub(super) fn to_symmetric<S: Simd>(s: S, x: S::F, inverse: S::F) -> S::I {
    let x = s.min(s.mul(x, inverse), s.splat(127.0));
    s.small_to_int(s.max(x, s.splat(-127.0)))
}
