//! Scalar norms.

use super::{fma, sum16};

/// LayerNorm of one row, in place, in two passes: `mean = sum16(x) / n`, `var = sum16((x - mean)^2) / n` (fma
/// adds the squares to the lanes), `inverse = 1 / sqrt(var + eps)`,
/// `y = fma((x - mean) * inverse, gamma, beta)`.
pub fn layer_norm(x: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let n = x.len() as f32;
    let mean = sum16(x.iter().copied()) / n;
    let mut squares = [0.0f32; 16];
    for (i, x) in x.iter().enumerate() {
        squares[i % 16] = fma(x - mean, x - mean, squares[i % 16]);
    }
    let inverse = 1.0 / (sum16(squares) / n + eps).sqrt();
    for ((x, gamma), beta) in x.iter_mut().zip(gamma).zip(beta) {
        *x = fma((*x - mean) * inverse, *gamma, *beta);
    }
}

/// NoNorm of one row, in place: `fma(x, gamma, beta)`.
pub fn affine(x: &mut [f32], gamma: &[f32], beta: &[f32]) {
    for ((x, gamma), beta) in x.iter_mut().zip(gamma).zip(beta) {
        *x = fma(*x, *gamma, *beta);
    }
}
