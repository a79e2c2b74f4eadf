//! Scalar attention of one query row of one head over the tokens of its sequence.

use super::activation::{exp2, exp2_coarse};
use super::gemm::dot;
use super::quantize::{Levels, RowRange, quantize_row, range};
use super::{fma, sum16};

/// `exp2(fma(score, c, -largest * c))` with `c = scale * log2(e)` for each score, and `1 / sum16` of them.
fn softmax(scores: &mut [f32], scale: f32, exp2: impl Fn(f32) -> f32) -> f32 {
    let c = scale * std::f32::consts::LOG2_E;
    let largest = scores.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
    let shift = -largest * c;
    for x in scores.iter_mut() {
        *x = exp2(fma(*x, c, shift));
    }
    1.0 / sum16(scores.iter().copied())
}

/// Attention in f32. Each score is a chain of fma over the head, and each output is a chain of fma over the
/// tokens, multiplied by `1 / sum`.
pub fn attention_f32(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], scale: f32) -> Vec<f32> {
    let chain = |acc: f32, (a, b): (&f32, &f32)| fma(*a, *b, acc);
    let mut p: Vec<f32> = keys.iter().map(|k| query.iter().zip(k).fold(0.0, chain)).collect();
    let inverse = softmax(&mut p, scale, exp2);
    let column = |d: usize| p.iter().zip(values).fold(0.0f32, |acc, (p, v)| fma(*p, v[d], acc));
    (0..query.len()).map(|d| column(d) * inverse).collect()
}

/// Attention in int8, with [`exp2_coarse`]. The query is quantised over its row and head; keys and values are
/// symmetric per token and head.
///
/// `score = fma(acc * range.scale, key_scale, range.offset * key_offset_scale)` as in an int8 linear without
/// bias. After the softmax, each probability is multiplied by the scale of its value, and the row of products
/// is quantised to unsigned 8 bits. So the sum over the tokens is exact in i32:
/// `out = acc * (scale * (1 / sum))`.
pub fn attention_i8(
    query: (&[u8], RowRange),
    keys: &[(Vec<i8>, f32)],
    values: &[(Vec<i8>, f32)],
    scale: f32,
) -> Vec<f32> {
    let (q, r) = query;
    let mut p: Vec<f32> = keys
        .iter()
        .map(|(k, key_scale)| {
            let sum: i32 = k.iter().map(|&k| i32::from(k)).sum();
            fma(dot(q, k) as f32 * r.scale, *key_scale, r.offset * (key_scale * sum as f32))
        })
        .collect();
    let inverse = softmax(&mut p, scale, exp2_coarse);
    for (p, (_, value_scale)) in p.iter_mut().zip(values) {
        *p *= value_scale;
    }
    let mut bytes = vec![0; p.len()];
    let weights = quantize_row(&p, Levels::Unsigned, &mut bytes);
    debug_assert_eq!(weights, range(0.0, p.iter().copied().fold(0.0, f32::max), Levels::Unsigned).0);
    let column =
        |d: usize| bytes.iter().zip(values).map(|(&p, (v, _))| i32::from(p) * i32::from(v[d])).sum::<i32>();
    (0..q.len()).map(|d| column(d) as f32 * (weights.scale * inverse)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one() {
        let mut p = vec![1.0, 2.0, 3.0];
        let inverse = softmax(&mut p, 1.0, exp2);
        assert!((p.iter().sum::<f32>() * inverse - 1.0).abs() < 1e-6);
    }
}
