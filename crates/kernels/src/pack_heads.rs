//! Packs keys and values in the order in which [`super::attention`] reads them.

use super::aligned::Line;
use super::attention::KeyScales;
use super::gemm::FloatRows;
use super::quantize::{inverses, symmetric_scales, to_symmetric};
use super::simd::{LANES, Simd};

/// The scales of `rows` rows from `first` on, at most sixteen. The other lanes are 0.
#[inline(always)]
fn row_scales<S: Simd>(s: S, x: FloatRows<'_>, width: usize, (first, rows): (usize, usize)) -> S::F {
    let mut magnitudes = [s.zero(); LANES];
    for (row, m) in (first..first + rows).zip(&mut magnitudes) {
        let (whole, rest) = x.row(row, width).as_chunks::<LANES>();
        if !rest.is_empty() {
            *m = s.max(s.abs(s.load_head(rest)), *m);
        }
        for x in whole {
            *m = s.max(s.abs(s.load(x)), *m);
        }
    }
    symmetric_scales(s, s.largest_each(magnitudes))
}

/// Packs the keys of some tokens of one head, starting at a multiple of sixteen tokens.
#[inline(always)]
pub(super) fn pack_keys<S: Simd>(
    s: S,
    (tokens, head_size): (usize, usize),
    x: FloatRows<'_>,
    keys: &mut [Line<[i8; 64]>],
    scales: &mut [KeyScales],
) {
    let depth = head_size.div_ceil(4);
    // Packing yields unsigned bytes. A byte less 128, which has the top bit flipped, is the signed byte.
    let center = s.to_int(s.splat(128.0));
    let strips = keys.chunks_mut(depth.max(1)).zip(scales).take(tokens.div_ceil(LANES));
    for (strip, (keys, scales)) in strips.enumerate() {
        let first = strip * LANES;
        let some = LANES.min(tokens - first);
        let scale = s.head(some, row_scales(s, x, head_size, (first, some)), s.load(&scales.scale));
        s.store(scale, &mut scales.scale);
        let mut inverse = [0.0; LANES];
        s.store(inverses(s, scale), &mut inverse);
        let mut sums = [s.zero(); LANES];
        for (lane, (sum, inverse)) in sums.iter_mut().zip(inverse).enumerate().take(some) {
            let inverse = s.splat(inverse);
            for (x, lines) in x.row(first + lane, head_size).chunks(64).zip(keys.chunks_mut(LANES)) {
                let mut q = [center; 4];
                let (vectors, head) = x.as_chunks::<LANES>();
                for (q, x) in q.iter_mut().zip(vectors) {
                    let v = to_symmetric(s, s.load(x), inverse);
                    *sum = s.add(*sum, s.to_float(v));
                    *q = s.add_int(v, center);
                }
                if !head.is_empty() {
                    let v = to_symmetric(s, s.load_head(head), inverse);
                    *sum = s.add(*sum, s.to_float(v));
                    q[vectors.len()] = s.add_int(v, center);
                }
                let mut bytes = [0; 64];
                s.narrow(q, &mut bytes);
                for (line, four) in lines.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    line.0.as_chunks_mut::<4>().0[lane] = four.map(|b| (b ^ 0x80) as i8);
                }
            }
        }
        let offset_scale = s.mul(scale, s.sum_each(sums));
        s.store(s.head(some, offset_scale, s.load(&scales.offset_scale)), &mut scales.offset_scale);
    }
}

/// Computes the scales of the values of some tokens of one head, starting at a multiple of sixteen tokens.
#[inline(always)]
pub(super) fn value_scales<S: Simd>(
    s: S,
    (tokens, head_size): (usize, usize),
    x: FloatRows<'_>,
    scales: &mut [Line<[f32; 16]>],
) {
    for (first, scales) in (0..tokens).step_by(LANES).zip(scales) {
        let some = LANES.min(tokens - first);
        let scale = row_scales(s, x, head_size, (first, some));
        s.store(s.head(some, scale, s.load(&scales.0)), &mut scales.0);
    }
}

/// Packs up to sixteen columns of the values of some tokens, starting at a multiple of sixteen tokens.
#[inline(always)]
pub(super) fn pack_values<S: Simd>(
    s: S,
    (tokens, columns): (usize, usize),
    x: FloatRows<'_>,
    scales: &[Line<[f32; 16]>],
    values: &mut [Line<[i8; 64]>],
) {
    let zero = s.to_int(s.zero());
    let mut inverse = [0.0; LANES];
    for (quad, line) in values[..tokens.div_ceil(4)].iter_mut().enumerate() {
        if quad % 4 == 0 {
            s.store(inverses(s, s.load(&scales[quad / 4].0)), &mut inverse);
        }
        let mut q = [zero; 4];
        for (q, token) in q.iter_mut().zip(4 * quad..tokens) {
            let inverse = s.splat(inverse[token % LANES]);
            let x = x.row(token, columns);
            let x = match x.first_chunk() {
                Some(x) => s.load(x),
                None => s.load_head(x),
            };
            *q = to_symmetric(s, x, inverse);
        }
        s.join(q, &mut line.0);
    }
}

/// Packs f32 keys of `(tokens, head_size)`, starting at a multiple of sixteen tokens.
pub fn pack_keys_f32((tokens, head_size): (usize, usize), x: FloatRows<'_>, keys: &mut [Line<[f32; 16]>]) {
    for token in 0..tokens {
        let strip = &mut keys[token / LANES * head_size..][..head_size];
        for (line, x) in strip.iter_mut().zip(x.row(token, head_size)) {
            line.0[token % LANES] = *x;
        }
    }
}

/// Packs f32 values of `(tokens, columns)` with up to sixteen columns.
pub fn pack_values_f32((tokens, columns): (usize, usize), x: FloatRows<'_>, values: &mut [Line<[f32; 16]>]) {
    for (token, line) in values[..tokens].iter_mut().enumerate() {
        line.0[..columns].copy_from_slice(x.row(token, columns));
    }
}
