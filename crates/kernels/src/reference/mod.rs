//! What every kernel computes, one number at a time.
//!
//! These functions are the definition: each doc states the formula, the order of roundings and the edge
//! rules, and every variant in the registry returns the same bits for the int8 path. Nothing calls them but
//! tests, benches, training and the constants' users. `fma(a, b, c)` in the docs is [`fma()`], rounded once;
//! everything else is a plain f32 operation.

pub mod activation;
pub mod attention;
pub mod gemm;
pub mod norm;
pub mod quantize;

/// `a * b + c`, rounded once: [`f32::mul_add`], except on WebAssembly, which has no such instruction and
/// whose library rounds some denormal results twice.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_family = "wasm") { fma_in_f64(a, b, c) } else { a.mul_add(b, c) }
}

/// [`fma()`] without the instruction. The product is exact in f64. The sum is rounded to odd (if it is
/// inexact, to whichever neighbour has an odd last bit) and so never to a tie of f32 or past one: rounding it
/// again gives what rounding the exact sum gives (Boldo and Melquiond, "Emulation of a FMA and correctly
/// rounded sums", 2008).
#[inline]
fn fma_in_f64(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let of_c = sum - product;
    let error = (product - (sum - of_c)) + (c - of_c);
    let mut bits = sum.to_bits();
    if error.abs() > 0.0 {
        bits = (bits - u64::from((error < 0.0) != (sum < 0.0))) | 1;
    }
    f64::from_bits(bits) as f32
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// f32 bits whose exponents lie near each other and at the ends of the range.
    fn operands(state: &mut u64) -> [f32; 3] {
        let mut next = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 32) as u32
        };
        let [mut a, mut b] = [next(), next()].map(f32::from_bits);
        let kind = next() % 4;
        if kind < 2 {
            // Few significant bits make ties.
            [a, b] = [a, b].map(|x| f32::from_bits(x.to_bits() & 0xFFFF_F800));
        }
        let product = a * b;
        let near = product.to_bits().wrapping_add((next() % 64) << 23).wrapping_sub(32 << 23);
        let c = if kind % 2 == 0 {
            f32::from_bits(near ^ (next() & 0x807F_FFFF))
        } else {
            f32::from_bits(next())
        };
        [a, b, c]
    }

    /// Products of 2^-150 and a little, beside odd and even denormals: f64 rounds the little away and leaves
    /// a tie.
    fn denormal_ties() -> impl Iterator<Item = [f32; 3]> {
        let half = 2f32.powi(-75);
        let step = f32::EPSILON;
        let factors = [(1.0, 1.0), (1.0 + step, 1.0 - step), (1.0 - step, 1.0 + step), (1.0 + step, 1.0)];
        let bits = [0, 1, 2, 3, 0x40_0000, 0x7F_FFFE, 0x7F_FFFF, 0x80_0000, 0x80_0001];
        factors.into_iter().flat_map(move |(a, b)| {
            bits.into_iter().flat_map(move |c| {
                let [a, b, c] = [a * half, b * half, f32::from_bits(c)];
                [[a, b, c], [a, b, -c], [-a, b, c], [-a, b, -c]]
            })
        })
    }

    /// Where the instruction exists it says what is right.
    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "the library's own is not right here")]
    fn fma_in_f64_is_fma() {
        let mut state = 1;
        let random = std::iter::repeat_with(|| operands(&mut state)).take(1 << 20);
        for [a, b, c] in random.chain(denormal_ties()) {
            let (expected, found) = (a.mul_add(b, c), fma_in_f64(a, b, c));
            let same = expected.to_bits() == found.to_bits() || (expected.is_nan() && found.is_nan());
            assert!(same, "{a:e} * {b:e} + {c:e}: expected {expected:e}, found {found:e}");
        }
    }

    /// 2^-150 less a little is less than half of the smallest step, whatever the little is.
    #[test]
    fn denormal_results_are_rounded_once() {
        let half = 2f32.powi(-75);
        let odd = f32::from_bits(0x7F_FFFF);
        let found = fma((1.0 + f32::EPSILON) * half, (1.0 - f32::EPSILON) * half, odd);
        assert_eq!(found.to_bits(), odd.to_bits());
    }
}
