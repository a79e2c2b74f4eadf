//! Sixteen lanes in one 512-bit register.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::super::aligned::Line;
use super::super::isa::{Amx, Avx512, Avx512Vnni};
use super::{Dot, LANES, Simd, Widen};

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

/// Reduces sixteen vectors at once, along the tree of [`Simd::sum`]. Each step brings halves of two vectors
/// side by side, so that one instruction reduces both. This takes a third of the instructions of sixteen
/// reductions one by one.
macro_rules! reduce_each {
    ($x:expr, $operation:ident) => {{
        let x = $x;
        // The two vectors of a step, and the lanes of each that make the first and the second operand.
        macro_rules! halves {
            ($shuffle:ident, $first:literal, $second:literal, $a:expr, $b:expr) => {{
                let (a, b) = ($a, $b);
                $operation($shuffle::<$first>(a, b), $shuffle::<$second>(a, b))
            }};
        }
        macro_rules! eights {
            ($a:expr) => {
                halves!(_mm512_shuffle_f32x4, 0x44, 0xEE, x[$a], x[$a + 4])
            };
        }
        macro_rules! fours {
            ($a:literal) => {
                halves!(_mm512_shuffle_f32x4, 0x88, 0xDD, eights!($a), eights!($a + 8))
            };
        }
        let even = halves!(_mm512_shuffle_ps, 0x44, 0xEE, fours!(0), fours!(1));
        let odd = halves!(_mm512_shuffle_ps, 0x44, 0xEE, fours!(2), fours!(3));
        halves!(_mm512_shuffle_ps, 0x88, 0xDD, even, odd)
    }};
}

macro_rules! simd {
    ($token:ty) => {
        impl Simd for $token {
            type F = __m512;
            type I = __m512i;

            instructions! {
                prefetch(line: &Line<[u8; 64]>) -> () = _mm_prefetch::<_MM_HINT_T1>(line.0.as_ptr().cast());
                splat(x: f32) -> __m512 = _mm512_set1_ps(x);
                load(x: &[f32; LANES]) -> __m512 = _mm512_loadu_ps(x.as_ptr());
                store(x: __m512, to: &mut [f32; LANES]) -> () = _mm512_storeu_ps(to.as_mut_ptr(), x);
                load_int(x: &[i32; LANES]) -> __m512i = _mm512_loadu_si512(x.as_ptr().cast());
                store_int(x: __m512i, to: &mut [i32; LANES]) -> () = _mm512_storeu_si512(to.as_mut_ptr().cast(), x);
                add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
                sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
                mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
                div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
                fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
                max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
                min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
                abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
                copy_sign(a: __m512, b: __m512) -> __m512 = _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xB8>(
                    _mm512_castps_si512(a),
                    _mm512_set1_epi32(i32::MIN),
                    _mm512_castps_si512(b)
                ));
                at_least(a: __m512, b: __m512, x: __m512) -> __m512 =
                    _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(a, b), x);
                head(n: usize, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(((1u32 << n) - 1) as u16, b, a);
                to_int(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
                to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
                from_bits(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
                to_bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
                add_int(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
                exponent(a: __m512i) -> __m512i = _mm512_slli_epi32::<23>(a);
                narrow(q: [__m512i; 4], to: &mut [u8; 64]) -> () = {
                    let words = (_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
                    let bytes = _mm512_packus_epi16(words.0, words.1);
                    // Packing works within 128-bit lanes: lane l holds dword l of each of the four vectors.
                    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, bytes))
                };
                join(q: [__m512i; 4], to: &mut [i8; 64]) -> () = {
                    let byte = _mm512_set1_epi32(0xFF);
                    let low = _mm512_or_si512(
                        _mm512_and_si512(q[0], byte),
                        _mm512_slli_epi32::<8>(_mm512_and_si512(q[1], byte)),
                    );
                    let high = _mm512_or_si512(
                        _mm512_slli_epi32::<16>(_mm512_and_si512(q[2], byte)),
                        _mm512_slli_epi32::<24>(q[3]),
                    );
                    _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_or_si512(low, high))
                };
                sum(a: __m512) -> f32 = {
                    let a = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
                    let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                    let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
                    _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)))
                };
                largest(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
                smallest(a: __m512) -> f32 = _mm512_reduce_min_ps(a);
                sum_each(x: [__m512; LANES]) -> __m512 = reduce_each!(x, _mm512_add_ps);
                largest_each(x: [__m512; LANES]) -> __m512 = reduce_each!(x, _mm512_max_ps);
                smallest_each(x: [__m512; LANES]) -> __m512 = reduce_each!(x, _mm512_min_ps);
            }
        }
    };
}

simd!(Avx512);
simd!(Avx512Vnni);
simd!(Amx);

macro_rules! vnni {
    ($token:ty, $group:literal, $rows:literal) => {
        impl Dot for $token {
            type A = __m512i;
            type B = __m512i;

            const GROUP: usize = $group;
            const ROWS_I8: usize = $rows;
            const STRIPS_I8: usize = 4;
            const ROWS_F32: usize = 6;
            const STRIPS_F32: usize = 4;

            instructions! {
                zero_int() -> __m512i = _mm512_setzero_si512();
                dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i = _mm512_dpbusd_epi32(acc, a, b);
            }

            #[inline(always)]
            unsafe fn broadcast(self, a: *const u8) -> __m512i {
                // SAFETY: `self` proves the features, and the caller promises four readable bytes.
                unsafe { _mm512_set1_epi32(a.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            unsafe fn weights(self, b: *const i8) -> __m512i {
                // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
                unsafe { _mm512_loadu_si512(b.cast()) }
            }
        }
    };
}

// 24 accumulators hide the latency of 5 cycles at two dot products a cycle. With four strips and a broadcast
// they use 29 of 32 registers.
vnni!(Avx512Vnni, 12, 6);
// A tile register has 16 rows, and two of them share the loads of the weights.
vnni!(Amx, 16, 32);

/// Without VNNI the bytes are widened to i16, and sums of two products cannot overflow.
impl Dot for Avx512 {
    type A = __m512i;
    type B = __m512i;

    const INPUTS: usize = 2;
    // Register tiles have 6 rows: 24 accumulators, 4 registers of weights, one of activations and products.
    const GROUP: usize = 16;
    const ROWS_I8: usize = 32;
    const REGISTER_ROWS_I8: usize = 6;
    const STRIPS_I8: usize = 4;
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 4;

    instructions! {
        zero_int() -> __m512i = _mm512_setzero_si512();
        dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i =
            _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
    }

    #[inline(always)]
    unsafe fn broadcast(self, a: *const u8) -> __m512i {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe { _mm512_set1_epi32(a.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> __m512i {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { _mm512_loadu_si512(b.cast()) }
    }
}

impl Widen for Avx512 {
    #[inline(always)]
    fn widen(self, line: &[u8; 64], to: &mut MaybeUninit<[Line<[u8; 64]>; 2]>) {
        let to = to.as_mut_ptr().cast::<__m512i>();
        // SAFETY: `self` proves the features; a line has one register, and `to` has two, aligned to 64.
        unsafe {
            let bytes = _mm512_loadu_si512(line.as_ptr().cast());
            let low = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(bytes));
            _mm512_store_si512(to, low);
            _mm512_store_si512(to.add(1), _mm512_srai_epi16::<8>(bytes));
        }
    }
}
