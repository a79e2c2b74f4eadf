//! Applies LayerNorm and NoNorm to rows.

use super::simd::{LANES, Simd};

/// The norm's parameters, padded with [`super::gemm::padded`].
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Factor per column.
    pub gamma: &'a [[f32; 16]],
    /// Summand per column.
    pub beta: &'a [[f32; 16]],
    /// `Some(eps)` for LayerNorm, `None` for NoNorm, which needs no statistics.
    pub eps: Option<f32>,
}

impl LayerNorm<'_> {
    pub(super) fn check(&self, columns: usize) {
        let groups = columns.div_ceil(16);
        assert!(self.gamma.len() >= groups && self.beta.len() >= groups, "norm is too short");
    }
}

/// Normalises one row in place.
#[inline(always)]
pub(super) fn normalize_row<S: Simd>(s: S, x: &mut [f32], norm: LayerNorm<'_>) {
    let (mean, inverse) = match norm.eps {
        Some(eps) => statistics(s, x, eps),
        None => (s.zero(), s.splat(1.0)),
    };
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    let parameters = norm.gamma.iter().zip(norm.beta);
    for (x, (gamma, beta)) in whole.iter_mut().zip(parameters) {
        s.store(normalize(s, s.load(x), (mean, inverse), (gamma, beta)), x);
    }
    if !rest.is_empty() {
        let i = whole.len();
        let y = normalize(s, s.load_head(rest), (mean, inverse), (&norm.gamma[i], &norm.beta[i]));
        s.store_head(y, rest);
    }
}

/// `(x - mean) * inverse * gamma + beta`. For NoNorm the mean is 0 and the inverse 1, which change nothing.
#[inline(always)]
fn normalize<S: Simd>(
    s: S,
    x: S::F,
    (mean, inverse): (S::F, S::F),
    (gamma, beta): (&[f32; LANES], &[f32; LANES]),
) -> S::F {
    s.fma(s.mul(s.sub(x, mean), inverse), s.load(gamma), s.load(beta))
}

/// The mean of a row and the inverse of its standard deviation, in every lane.
#[inline(always)]
fn statistics<S: Simd>(s: S, x: &[f32], eps: f32) -> (S::F, S::F) {
    let n = x.len() as f32;
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut sum = s.zero();
    for x in whole {
        sum = s.add(sum, s.load(x));
    }
    let mean = s.splat(s.sum(s.add(sum, s.load_head(rest))) / n);
    let mut squares = s.zero();
    for x in whole {
        let d = s.sub(s.load(x), mean);
        squares = s.fma(d, d, squares);
    }
    let d = s.sub(s.load_head(rest), mean);
    squares = s.head(rest.len(), s.fma(d, d, squares), squares);
    (mean, s.splat(1.0 / (s.sum(squares) / n + eps).sqrt()))
}

/// Normalises rows of `width` numbers in place.
#[inline(always)]
pub(super) fn normalize_rows<S: Simd>(s: S, width: usize, x: &mut [f32], norm: LayerNorm<'_>) {
    for x in x.chunks_exact_mut(width.max(1)) {
        normalize_row(s, x, norm);
    }
}
