//! Packs keys and values in the order in which [`super::attention`] reads them.

use super::aligned::Line;
use super::attention::KeyScales;
use super::gemm::FloatRows;
use super::quantize::{inverse, symmetric_scale, to_symmetric};
use super::simd::{LANES, Simd};

/// The largest magnitude of a row.
#[inline(always)]
fn magnitude<S: Simd>(s: S, x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut m = s.abs(s.load_head(rest));
    m = s.max(m, s.zero());
    for x in whole {
        m = s.max(s.abs(s.load(x)), m);
    }
    s.largest(m)
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
        for (lane, scale) in scales.scale[..some].iter_mut().enumerate() {
            *scale = symmetric_scale(magnitude(s, x.row(first + lane, head_size)));
        }
        for lane in 0..some {
            let scale = scales.scale[lane];
            let inverse = s.splat(inverse(scale));
            let mut sum = s.zero();
            for (x, lines) in x.row(first + lane, head_size).chunks(64).zip(keys.chunks_mut(LANES)) {
                let mut q = [center; 4];
                let (vectors, head) = x.as_chunks::<LANES>();
                for (q, x) in q.iter_mut().zip(vectors) {
                    let v = to_symmetric(s, s.load(x), inverse);
                    sum = s.add(sum, s.to_float(v));
                    *q = s.add_int(v, center);
                }
                if !head.is_empty() {
                    let v = to_symmetric(s, s.load_head(head), inverse);
                    sum = s.add(sum, s.to_float(v));
                    q[vectors.len()] = s.add_int(v, center);
                }
                let mut bytes = [0; 64];
                s.narrow(q, &mut bytes);
                for (line, four) in lines.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    line.0.as_chunks_mut::<4>().0[lane] = four.map(|b| (b ^ 0x80) as i8);
                }
            }
            scales.offset_scale[lane] = scale * s.sum(sum);
        }
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
    for token in 0..tokens {
        scales[token / LANES].0[token % LANES] = symmetric_scale(magnitude(s, x.row(token, head_size)));
    }
}

/// Packs up to sixteen columns of the values of some tokens, starting at a multiple of four tokens.
#[inline(always)]
pub(super) fn pack_values<S: Simd>(
    s: S,
    (tokens, columns): (usize, usize),
    x: FloatRows<'_>,
    scales: &[Line<[f32; 16]>],
    values: &mut [Line<[i8; 64]>],
) {
    let zero = s.to_int(s.zero());
    for (quad, line) in values[..tokens.div_ceil(4)].iter_mut().enumerate() {
        let mut q = [zero; 4];
        for (q, token) in q.iter_mut().zip(4 * quad..tokens) {
            let inverse = s.splat(inverse(scales[token / LANES].0[token % LANES]));
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
