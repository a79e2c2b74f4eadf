//! Tests the error bounds of exp, GELU, SiLU and tanh, and that every variant returns the same bits.

use super::*;

/// The largest error of a scalar function compared with f64, at steps of 1/1024 in -10..10 and at large
/// numbers.
fn largest_error(function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
    let grid = (-10_240..10_240).map(|i| i as f32 / 1024.0).chain([-1e30, -100.0, 100.0, 1e30]);
    grid.map(|x| (f64::from(function(x)) - truth(f64::from(x))).abs() / (1.0 + 0.2 * f64::from(x.abs())))
        .fold(0.0, f64::max)
}

/// Computes erf by its series, or from a continued fraction of erfc where the series cancels.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let mut term = z;
        let mut sum = z;
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(z, |f, k| z + f64::from(k) / 2.0 / f);
        1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

#[test]
fn activations_are_within_their_bounds() {
    let of = |a| move |x| reference::activation::activation(a, x);
    let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
    let gelu_new =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let gelu_error = largest_error(of(Activation::Gelu), gelu);
    let gelu_new_error = largest_error(of(Activation::GeluNew), gelu_new);
    let silu_error = largest_error(of(Activation::Silu), |x: f64| x / (1.0 + (-x).exp()));
    let tanh_error = largest_error(of(Activation::Tanh), f64::tanh);
    assert!(gelu_error < 3e-7, "{gelu_error}");
    assert!(gelu_new_error < 3e-7, "{gelu_new_error}");
    assert!(silu_error < 3e-7, "{silu_error}");
    assert!(tanh_error < 2e-7, "{tanh_error}");
    let relative = |exp2: fn(f32) -> f32| {
        (0..=126 * 1024)
            .map(|i| -f64::from(i) / 1024.0)
            .map(|t| (f64::from(exp2(t as f32)) / t.exp2() - 1.0).abs())
            .fold(0.0, f64::max)
    };
    let fine = relative(reference::activation::exp2);
    let coarse = relative(reference::activation::exp2_coarse);
    assert!(fine < 2e-7, "{fine}");
    assert!(coarse < 1.1e-4, "{coarse}");
}

/// `Simd::horner` on WebAssembly looks for no denormal results, which small coefficients could have, and for
/// no ties at the limit of GELU, where no sum is inexact in f64.
#[test]
fn polynomials_are_as_horner_needs_them() {
    use reference::activation::{EXP2, EXP2_COARSE, GELU_LIMIT, GELU_NEW, GELU_TAIL};
    for polynomial in [&EXP2[..], &EXP2_COARSE, &GELU_TAIL, &GELU_NEW] {
        let mut p = 0.0;
        for &c in polynomial.iter().rev() {
            assert!(c.abs() >= 2f32.powi(-60), "{c}");
            let (product, c) = (f64::from(p) * f64::from(GELU_LIMIT), f64::from(c));
            let sum = product + c;
            let of_c = sum - product;
            assert_eq!((product - (sum - of_c)) + (c - of_c), 0.0, "{polynomial:?} at {GELU_LIMIT}: {c}");
            p = sum as f32;
        }
    }
}

#[test]
fn special_numbers_pass_through_activations() {
    use reference::activation::{activation, exp2};
    for a in ACTIVATIONS {
        assert!(activation(a, f32::NAN).is_nan(), "{a:?}");
    }
    let rising = ACTIVATIONS.into_iter().filter(|a| *a != Activation::Tanh);
    for a in rising {
        assert_eq!(activation(a, f32::INFINITY), f32::INFINITY, "{a:?}");
        assert_eq!(activation(a, 0.0), 0.0, "{a:?}");
    }
    assert_eq!(activation(Activation::Tanh, f32::NEG_INFINITY), -1.0);
    assert_eq!(exp2(f32::NEG_INFINITY), f32::MIN_POSITIVE);
    assert_eq!(exp2(0.0), 1.0);
}

/// A linear with one input of 1 returns its weights, so its results show the activation function of the
/// weights.
#[test]
fn activations_of_every_variant_are_those_of_the_definition() {
    let mut numbers: Vec<f32> = (-800..800).map(|i| i as f32 / 100.0).chain(SPECIAL).collect();
    numbers.extend([
        f32::EPSILON,
        -f32::EPSILON,
        5.999_999_5,
        6.000_000_5,
        -6.0,
        87.0,
        -87.000_01,
        88.0,
        -104.0,
    ]);
    let n = numbers.len();
    let bias = vec![0.0; n];
    let weights = PackedF32::new(1, &numbers, None, &bias);
    for activation in ACTIVATIONS {
        let one = |w: &f32| {
            reference::activation::activation(activation, reference::gemm::linear_f32(&[1.0], &[*w], 0.0))
        };
        let expected: Vec<f32> = numbers.iter().map(one).collect();
        for kernels in supported() {
            let mut found = vec![f32::NAN; n];
            kernels.gemm(Gemm {
                rows: 1,
                input: Input::F32(FloatRows { values: &[1.0], stride: 1 }, weights.view()),
                epilogue: Epilogue { activation, ..Epilogue::PLAIN },
                output: Output { values: &mut found, stride: n, keep: true, quantized: None },
                ahead: &[],
            });
            assert_same(kernels, &format!("{activation:?}"), &expected, &found);
        }
    }
}
