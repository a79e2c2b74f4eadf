//! exp, GELU, SiLU and tanh on sixteen lanes. Each has one polynomial and the same bits on every instruction
//! set.
//!
//! The scalar definitions, with their error bounds, are in [`super::reference`].

use super::reference::activation::{
    EXP2, EXP2_COARSE, EXP2_LOWEST, GELU_LIMIT, GELU_NEW, GELU_TAIL, ROUNDER, SILU, SILU_LIMIT, TANH,
};
use super::simd::Simd;

/// The element-wise function that follows a linear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x * Phi(x)` with the exact error function: Hugging Face's `gelu`.
    Gelu,
    /// The tanh form of GELU: Hugging Face's `gelu_new`, and `gelu_fast` and `gelu_pytorch_tanh`, which write
    /// the same formula with its constants rounded differently.
    GeluNew,
    /// `x / (1 + exp(-x))`: Hugging Face's `silu` and `swish`.
    Silu,
    /// `tanh(x)`
    Tanh,
}

/// `2^t` for `t <= 0`.
#[inline(always)]
pub(super) fn exp2<S: Simd>(s: S, t: S::F) -> S::F {
    scaled(s, t, &EXP2)
}

/// `2^t` for `t <= 0`, as exact as the 8-bit weights of an attention need it.
#[inline(always)]
pub(super) fn exp2_coarse<S: Simd>(s: S, t: S::F) -> S::F {
    scaled(s, t, &EXP2_COARSE)
}

/// Multiplies the polynomial of the fractional part by 2 to the integer part.
#[inline(always)]
fn scaled<S: Simd, const N: usize>(s: S, t: S::F, polynomial: &[f32; N]) -> S::F {
    let t = s.max(t, s.splat(EXP2_LOWEST));
    let shifted = s.add(t, s.splat(ROUNDER));
    let r = s.sub(t, s.sub(shifted, s.splat(ROUNDER)));
    let p = s.horner(polynomial, r);
    s.from_bits(s.add_int(s.to_bits(p), s.exponent(s.to_bits(shifted))))
}

/// An element-wise function that a kernel is compiled for.
pub(super) trait Function {
    fn apply<S: Simd>(s: S, x: S::F) -> S::F;
}

pub(super) struct Identity;
pub(super) struct Relu;
pub(super) struct Gelu;
pub(super) struct GeluNew;
pub(super) struct Silu;
pub(super) struct Tanh;

impl Function for Identity {
    #[inline(always)]
    fn apply<S: Simd>(_: S, x: S::F) -> S::F {
        x
    }
}

impl Function for Relu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        s.max(s.zero(), x)
    }
}

impl Function for Gelu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let u = s.min(s.abs(x), s.splat(GELU_LIMIT));
        let tail = exp2(s, s.horner(&GELU_TAIL, u));
        s.fma(s.sub(s.zero(), u), tail, s.max(s.zero(), x))
    }
}

impl Function for GeluNew {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let u = s.min(s.abs(x), s.splat(GELU_LIMIT));
        let e = exp2(s, s.mul(u, s.horner(&GELU_NEW, s.mul(u, u))));
        let tail = s.div(e, s.add(s.splat(1.0), e));
        s.fma(s.sub(s.zero(), u), tail, s.max(s.zero(), x))
    }
}

impl Function for Silu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let u = s.min(s.abs(x), s.splat(SILU_LIMIT));
        let e = exp2(s, s.mul(u, s.splat(SILU)));
        let tail = s.div(e, s.add(s.splat(1.0), e));
        s.fma(s.sub(s.zero(), u), tail, s.max(s.zero(), x))
    }
}

impl Function for Tanh {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        let u = s.min(s.splat(f32::MAX), s.abs(x));
        let e = exp2(s, s.mul(u, s.splat(TANH)));
        let one = s.splat(1.0);
        let t = s.div(s.sub(one, e), s.add(one, e));
        s.copy_sign(s.fma(s.zero(), u, t), x)
    }
}
