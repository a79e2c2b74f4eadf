//! Sixteen lanes in two 256-bit registers.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::aligned::Line;
use super::super::isa::{Avx2, AvxVnni};
use super::{Dot, LANES, Simd, Widen};

type F = [__m256; 2];
type I = [__m256i; 2];

/// Defines methods whose bodies are instructions of the token's features.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            // SAFETY: `self` proves that the CPU has the features; loads and stores go through references.
            unsafe { $body }
        }
    )*};
}

macro_rules! simd {
    ($token:ty) => {
        impl Simd for $token {
            type F = F;
            type I = I;

            instructions! {
                prefetch(line: &Line<[u8; 64]>) -> () = _mm_prefetch::<_MM_HINT_T1>(line.0.as_ptr().cast());
                splat(x: f32) -> F = [_mm256_set1_ps(x); 2];
                load(x: &[f32; LANES]) -> F = [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))];
                store(x: F, to: &mut [f32; LANES]) -> () = {
                    _mm256_storeu_ps(to.as_mut_ptr(), x[0]);
                    _mm256_storeu_ps(to.as_mut_ptr().add(8), x[1])
                };
                load_int(x: &[i32; LANES]) -> I =
                    [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x.as_ptr().add(8).cast())];
                store_int(x: I, to: &mut [i32; LANES]) -> () = {
                    _mm256_storeu_si256(to.as_mut_ptr().cast(), x[0]);
                    _mm256_storeu_si256(to.as_mut_ptr().add(8).cast(), x[1])
                };
                add(a: F, b: F) -> F = [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])];
                sub(a: F, b: F) -> F = [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])];
                mul(a: F, b: F) -> F = [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])];
                div(a: F, b: F) -> F = [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])];
                fma(a: F, b: F, c: F) -> F = [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])];
                max(a: F, b: F) -> F = [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])];
                min(a: F, b: F) -> F = [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])];
                abs(a: F) -> F = {
                    let sign = _mm256_set1_ps(-0.0);
                    [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
                };
                copy_sign(a: F, b: F) -> F = {
                    let sign = _mm256_set1_ps(-0.0);
                    [merge_sign(sign, a[0], b[0]), merge_sign(sign, a[1], b[1])]
                };
                at_least(a: F, b: F, x: F) -> F = [
                    _mm256_and_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a[0], b[0]), x[0]),
                    _mm256_and_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(a[1], b[1]), x[1]),
                ];
                head(n: usize, a: F, b: F) -> F = {
                    let n = _mm256_set1_epi32(n as i32);
                    let low = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
                    let high = _mm256_cmpgt_epi32(n, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
                    [
                        _mm256_blendv_ps(b[0], a[0], _mm256_castsi256_ps(low)),
                        _mm256_blendv_ps(b[1], a[1], _mm256_castsi256_ps(high)),
                    ]
                };
                to_int(a: F) -> I = [_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1])];
                to_float(a: I) -> F = [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])];
                from_bits(a: I) -> F = [_mm256_castsi256_ps(a[0]), _mm256_castsi256_ps(a[1])];
                to_bits(a: F) -> I = [_mm256_castps_si256(a[0]), _mm256_castps_si256(a[1])];
                add_int(a: I, b: I) -> I = [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])];
                exponent(a: I) -> I = [_mm256_slli_epi32::<23>(a[0]), _mm256_slli_epi32::<23>(a[1])];
                narrow(q: [I; 4], to: &mut [u8; 64]) -> () = {
                    // Packing works within 128-bit lanes, which leaves the groups of four interleaved.
                    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                    for half in 0..2 {
                        let (a, b) = (q[2 * half], q[2 * half + 1]);
                        let words = (_mm256_packs_epi32(a[0], a[1]), _mm256_packs_epi32(b[0], b[1]));
                        let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words.0, words.1), order);
                        _mm256_storeu_si256(to.as_mut_ptr().add(32 * half).cast(), bytes)
                    }
                };
                join(q: [I; 4], to: &mut [i8; 64]) -> () = {
                    let byte = _mm256_set1_epi32(0xFF);
                    for half in 0..2 {
                        let low = _mm256_or_si256(
                            _mm256_and_si256(q[0][half], byte),
                            _mm256_slli_epi32::<8>(_mm256_and_si256(q[1][half], byte)),
                        );
                        let high = _mm256_or_si256(
                            _mm256_slli_epi32::<16>(_mm256_and_si256(q[2][half], byte)),
                            _mm256_slli_epi32::<24>(q[3][half]),
                        );
                        _mm256_storeu_si256(to.as_mut_ptr().add(32 * half).cast(), _mm256_or_si256(low, high))
                    }
                };
                sum(a: F) -> f32 = {
                    let a = _mm256_add_ps(a[0], a[1]);
                    let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                    let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
                    _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
                };
                largest(a: F) -> f32 = {
                    let a = _mm256_max_ps(a[0], a[1]);
                    let a = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                    let a = _mm_max_ps(a, _mm_movehl_ps(a, a));
                    _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)))
                };
                smallest(a: F) -> f32 = {
                    let a = _mm256_min_ps(a[0], a[1]);
                    let a = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                    let a = _mm_min_ps(a, _mm_movehl_ps(a, a));
                    _mm_cvtss_f32(_mm_min_ss(a, _mm_movehdup_ps(a)))
                };
            }
        }
    };
}

/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn merge_sign(sign: __m256, a: __m256, b: __m256) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b)) }
}

simd!(Avx2);
simd!(AvxVnni);

impl Dot for AvxVnni {
    type A = __m256i;
    type B = I;

    // 12 accumulators, 2 registers of weights and a broadcast use 15 of 16 registers.
    const GROUP: usize = 12;
    const ROWS_I8: usize = 6;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> I = [_mm256_setzero_si256(); 2];
        dot(acc: I, a: __m256i, b: I) -> I =
            [_mm256_dpbusd_avx_epi32(acc[0], a, b[0]), _mm256_dpbusd_avx_epi32(acc[1], a, b[1])];
    }

    #[inline(always)]
    unsafe fn broadcast(self, a: *const u8) -> __m256i {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe { _mm256_set1_epi32(a.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> I {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(32).cast())] }
    }
}

/// Without VNNI the bytes are widened to i16, and sums of two products cannot overflow. `vpmaddubsw`, which
/// multiplies bytes directly, would saturate.
impl Dot for Avx2 {
    type A = __m256i;
    type B = I;

    const INPUTS: usize = 2;
    // Register tiles have 6 rows: 12 accumulators, a register of activations and two of products and weights.
    const GROUP: usize = 16;
    const ROWS_I8: usize = 32;
    const REGISTER_ROWS_I8: usize = 6;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> I = [_mm256_setzero_si256(); 2];
        dot(acc: I, a: __m256i, b: I) -> I = [
            _mm256_add_epi32(acc[0], _mm256_madd_epi16(a, b[0])),
            _mm256_add_epi32(acc[1], _mm256_madd_epi16(a, b[1])),
        ];
    }

    #[inline(always)]
    unsafe fn broadcast(self, a: *const u8) -> __m256i {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe { _mm256_set1_epi32(a.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> I {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { [_mm256_loadu_si256(b.cast()), _mm256_loadu_si256(b.add(32).cast())] }
    }
}

impl Widen for Avx2 {
    #[inline(always)]
    fn widen(self, line: &[u8; 64], to: &mut MaybeUninit<[Line<[u8; 64]>; 2]>) {
        let to = to.as_mut_ptr().cast::<__m256i>();
        for half in 0..2 {
            // SAFETY: `self` proves the features; a line has two registers, and `to` has four, aligned to 64.
            unsafe {
                let bytes = _mm256_loadu_si256(line.as_ptr().cast::<__m256i>().add(half));
                let low = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes));
                _mm256_store_si256(to.add(half), low);
                _mm256_store_si256(to.add(2 + half), _mm256_srai_epi16::<8>(bytes));
            }
        }
    }
}
