//! What every kernel computes, one number at a time.
//!
//! These functions are the definition: each doc states the formula, the order of roundings and the edge rules, and every
//! variant in the registry returns the same bits for the int8 path. Nothing calls them but tests, benches, training and
//! the constants' users. `fma(a, b, c)` in the docs is [`f32::mul_add`], rounded once; everything else is a plain f32 operation.

pub mod activation;
pub mod attention;
pub mod gemm;
pub mod norm;
pub mod quantize;

/// Sixteen partial sums (element `i` goes to lane `i % 16`, in order), then lanes 8, 4, 2 and 1 apart.
pub fn sum16(values: impl IntoIterator<Item = f32>) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, x) in values.into_iter().enumerate() {
        lanes[i % 16] += x;
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Rounded half to even; `i32::MIN` for NaN and for what does not fit, as `cvtps2dq` does.
pub fn to_int(x: f32) -> i32 {
    let rounded = x.round_ties_even();
    if (-2147483648.0..2147483648.0).contains(&rounded) { rounded as i32 } else { i32::MIN }
}
