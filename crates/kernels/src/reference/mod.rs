//! Scalar definitions of every kernel, one number at a time.
//!
//! Each function documents the formula, the order of roundings and the edge cases. For the int8 path every
//! variant in the registry returns the same bits as these functions. Tests, benches and training call them.
//! The kernels share only the constants and the functions of single numbers, such as [`quantize::range`]. In
//! the formulas `fma(a, b, c)` is [`fma()`], rounded once, and everything else is a plain f32 operation.

pub mod activation;
pub mod attention;
pub mod gemm;
pub mod norm;
pub mod quantize;

/// `a * b + c`, rounded once. It is [`f32::mul_add`] except on WebAssembly, which has no such instruction and
/// whose library rounds some denormal results twice.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_family = "wasm") { fma_in_f64(a, b, c) } else { a.mul_add(b, c) }
}

/// Computes [`fma()`] without the instruction. The product is exact in f64. The sum is rounded to odd: if it
/// is inexact, to the neighbour with an odd last bit. So it is never rounded to a tie of f32 or past one, and
/// rounding it again gives the same result as rounding the exact sum (Boldo and Melquiond, "Emulation of a
/// FMA and correctly rounded sums", 2008).
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

/// Sums numbers in sixteen lanes: element `i` is added to lane `i % 16`, in order. Then lanes 8, 4, 2 and 1
/// apart are added.
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

/// Rounds half to even. Returns `i32::MIN` for NaN and for numbers beyond i32, like `cvtps2dq`.
pub fn to_int(x: f32) -> i32 {
    let rounded = x.round_ties_even();
    if (-2147483648.0..2147483648.0).contains(&rounded) { rounded as i32 } else { i32::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three f32 whose exponents lie near each other or at the ends of the range.
    fn operands(state: &mut u64) -> [f32; 3] {
        let mut next = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 32) as u32
        };
        let [mut a, mut b] = [next(), next()].map(f32::from_bits);
        let kind = next() % 4;
        if kind < 2 {
            // Numbers with few significant bits make ties.
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

    /// Products slightly above 2^-150, with odd and even denormals to add: f64 rounds the difference away and
    /// leaves a tie.
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

    /// Compares with the instruction, where there is one.
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

    /// A product slightly below 2^-150 is less than half of the smallest step, so the sum is the last
    /// operand.
    #[test]
    fn denormal_results_are_rounded_once() {
        let half = 2f32.powi(-75);
        let odd = f32::from_bits(0x7F_FFFF);
        let found = fma((1.0 + f32::EPSILON) * half, (1.0 - f32::EPSILON) * half, odd);
        assert_eq!(found.to_bits(), odd.to_bits());
    }
}
