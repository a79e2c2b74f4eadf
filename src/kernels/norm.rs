//! LayerNorm and NoNorm of rows.

use super::simd::{LANES, Simd};

/// The norm's parameters, padded with [`super::gemm::padded`].
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// Factor per column.
    pub gamma: &'a [[f32; 16]],
    /// Summand per column.
    pub beta: &'a [[f32; 16]],
    /// Statistics: `Some(eps)` for LayerNorm, `None` for NoNorm.
    pub eps: Option<f32>,
}

impl LayerNorm<'_> {
    pub(super) fn check(&self, columns: usize) {
        let groups = columns.div_ceil(16);
        assert!(self.gamma.len() >= groups && self.beta.len() >= groups, "norm is too short");
    }
}

/// Replaces a row by `f` of each vector of it.
#[inline(always)]
fn update<S: Simd>(s: S, x: &mut [f32], mut f: impl FnMut(usize, S::F) -> S::F) {
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    let groups = whole.len();
    for (i, x) in whole.iter_mut().enumerate() {
        s.store(f(i, s.load(x)), x);
    }
    if !rest.is_empty() {
        s.store_head(f(groups, s.load_head(rest)), rest);
    }
}

/// Normalises one row in place.
#[inline(always)]
pub(super) fn normalize_row<S: Simd>(s: S, x: &mut [f32], norm: LayerNorm<'_>) {
    let Some(eps) = norm.eps else {
        update(s, x, |i, x| s.fma(x, s.load(&norm.gamma[i]), s.load(&norm.beta[i])));
        return;
    };
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
    let inverse = s.splat(1.0 / (s.sum(squares) / n + eps).sqrt());
    update(s, x, |i, x| s.fma(s.mul(s.sub(x, mean), inverse), s.load(&norm.gamma[i]), s.load(&norm.beta[i])));
}

/// Normalises rows of `width` numbers in place.
#[inline(always)]
pub(super) fn normalize_rows<S: Simd>(s: S, width: usize, x: &mut [f32], norm: LayerNorm<'_>) {
    for x in x.chunks_exact_mut(width.max(1)) {
        normalize_row(s, x, norm);
    }
}
