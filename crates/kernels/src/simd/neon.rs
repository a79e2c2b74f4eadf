//! Sixteen lanes in four 128-bit registers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::aligned::Line;
use super::super::isa::{Neon, NeonDot, NeonI8mm};
use super::{Dot, LANES, Simd};

type F = [float32x4_t; 4];
type I = [int32x4_t; 4];

/// Defines methods whose bodies are instructions of the token's features.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        #[allow(unused_unsafe, reason = "NEON is part of most AArch64 targets")]
        fn $name(self, $($arg: $type),*) -> $out {
            // SAFETY: `self` proves that the CPU has the features; loads and stores go through references.
            unsafe { $body }
        }
    )*};
}

/// Applies an instruction to each of the four registers.
macro_rules! each {
    ($f:path, $($x:expr),+) => {
        [$f($($x[0]),+), $f($($x[1]),+), $f($($x[2]),+), $f($($x[3]),+)]
    };
}

macro_rules! simd {
    ($token:ty) => {
        impl Simd for $token {
            type F = F;
            type I = I;

            instructions! {
                prefetch(line: &Line<[u8; 64]>) -> () =
                    asm!("prfm pldl2keep, [{}]", in(reg) line.0.as_ptr(), options(readonly, nostack, preserves_flags));
                splat(x: f32) -> F = [vdupq_n_f32(x); 4];
                load(x: &[f32; LANES]) -> F = {
                    let p = x.as_ptr();
                    [vld1q_f32(p), vld1q_f32(p.add(4)), vld1q_f32(p.add(8)), vld1q_f32(p.add(12))]
                };
                store(x: F, to: &mut [f32; LANES]) -> () = {
                    for (to, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                        vst1q_f32(to.as_mut_ptr(), x);
                    }
                };
                load_int(x: &[i32; LANES]) -> I = {
                    let p = x.as_ptr();
                    [vld1q_s32(p), vld1q_s32(p.add(4)), vld1q_s32(p.add(8)), vld1q_s32(p.add(12))]
                };
                store_int(x: I, to: &mut [i32; LANES]) -> () = {
                    for (to, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(x) {
                        vst1q_s32(to.as_mut_ptr(), x);
                    }
                };
                add(a: F, b: F) -> F = each!(vaddq_f32, a, b);
                sub(a: F, b: F) -> F = each!(vsubq_f32, a, b);
                mul(a: F, b: F) -> F = each!(vmulq_f32, a, b);
                div(a: F, b: F) -> F = each!(vdivq_f32, a, b);
                fma(a: F, b: F, c: F) -> F = each!(vfmaq_f32, c, a, b);
                // NEON's instructions for maximum and minimum do not treat NaN as SSE does.
                max(a: F, b: F) -> F = each!(vbslq_f32, each!(vcgtq_f32, a, b), a, b);
                min(a: F, b: F) -> F = each!(vbslq_f32, each!(vcltq_f32, a, b), a, b);
                abs(a: F) -> F = each!(vabsq_f32, a);
                copy_sign(a: F, b: F) -> F = {
                    let sign = [vdupq_n_u32(1 << 31); 4];
                    each!(vbslq_f32, sign, b, a)
                };
                at_least(a: F, b: F, x: F) -> F = each!(vbslq_f32, each!(vcgeq_f32, a, b), x, [vdupq_n_f32(0.0); 4]);
                head(n: usize, a: F, b: F) -> F = {
                    const INDEX: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
                    let (p, n) = (INDEX.as_ptr(), [vdupq_n_u32(n as u32); 4]);
                    let index = [vld1q_u32(p), vld1q_u32(p.add(4)), vld1q_u32(p.add(8)), vld1q_u32(p.add(12))];
                    each!(vbslq_f32, each!(vcltq_u32, index, n), a, b)
                };
                // The conversion saturates, so only NaN and numbers that are too large have to be changed to
                // `i32::MIN`.
                to_int(a: F) -> I = {
                    let (limit, lowest) = ([vdupq_n_f32(2_147_483_648.0); 4], [vdupq_n_s32(i32::MIN); 4]);
                    each!(vbslq_s32, each!(vcltq_f32, a, limit), each!(vcvtnq_s32_f32, a), lowest)
                };
                to_float(a: I) -> F = each!(vcvtq_f32_s32, a);
                from_bits(a: I) -> F = each!(vreinterpretq_f32_s32, a);
                to_bits(a: F) -> I = each!(vreinterpretq_s32_f32, a);
                add_int(a: I, b: I) -> I = each!(vaddq_s32, a, b);
                exponent(a: I) -> I = each!(vshlq_n_s32::<23>, a);
                narrow(q: [I; 4], to: &mut [u8; 64]) -> () = {
                    for (to, q) in to.as_chunks_mut::<16>().0.iter_mut().zip(q) {
                        let low = vqmovn_high_s32(vqmovn_s32(q[0]), q[1]);
                        let high = vqmovn_high_s32(vqmovn_s32(q[2]), q[3]);
                        vst1q_u8(to.as_mut_ptr(), vqmovun_high_s16(vqmovun_s16(low), high));
                    }
                };
                join(q: [I; 4], to: &mut [i8; 64]) -> () = {
                    let [a, b, c, d] = q;
                    let low = each!(vsliq_n_s32::<8>, a, b);
                    let lines = each!(vsliq_n_s32::<24>, each!(vsliq_n_s32::<16>, low, c), d);
                    for (to, x) in to.as_chunks_mut::<16>().0.iter_mut().zip(lines) {
                        vst1q_s8(to.as_mut_ptr(), vreinterpretq_s8_s32(x));
                    }
                };
                sum(a: F) -> f32 = {
                    let a = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
                    let a = vadd_f32(vget_low_f32(a), vget_high_f32(a));
                    vget_lane_f32::<0>(vpadd_f32(a, a))
                };
                largest(a: F) -> f32 =
                    vmaxvq_f32(vmaxq_f32(vmaxq_f32(a[0], a[1]), vmaxq_f32(a[2], a[3])));
                smallest(a: F) -> f32 =
                    vminvq_f32(vminq_f32(vminq_f32(a[0], a[1]), vminq_f32(a[2], a[3])));
            }
        }
    };
}

simd!(Neon);
simd!(NeonDot);
simd!(NeonI8mm);

/// Loads the weights of sixteen columns, four columns a register.
///
/// # Safety
/// The CPU has NEON, and 64 bytes can be read.
#[inline(always)]
unsafe fn load_weights(b: *const i8) -> [int8x16_t; 4] {
    // SAFETY: the caller's.
    unsafe { [vld1q_s8(b), vld1q_s8(b.add(16)), vld1q_s8(b.add(32)), vld1q_s8(b.add(48))] }
}

/// `smull` multiplies signed bytes, so 128 is subtracted from the activations and 128 times the sum of the
/// weights is added. The tile (`gemm/mlal.rs`) adds it once for all rows; here it is part of every product.
impl Dot for Neon {
    type A = int8x16_t;
    type B = [int8x16_t; 4];

    const FASTEST_INPUTS: usize = 8;
    const GROUP: usize = 12;
    const ROWS_I8: usize = 12;
    const REGISTER_ROWS_I8: usize = 3;
    const STRIPS_I8: usize = 1;
    // 24 accumulators, 4 registers of weights and one of activations use 29 of 32 registers.
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> I = [vdupq_n_s32(0); 4];
        dot(acc: I, a: int8x16_t, b: [int8x16_t; 4]) -> I = {
            let mut acc = acc;
            for (acc, b) in acc.iter_mut().zip(b) {
                let low = vpaddlq_s16(vmull_s8(vget_low_s8(b), vget_low_s8(a)));
                let high = vpaddlq_s16(vmull_high_s8(b, a));
                let sum = vpaddlq_s16(vpaddlq_s8(b));
                *acc = vaddq_s32(vaddq_s32(*acc, vshlq_n_s32::<7>(sum)), vpaddq_s32(low, high));
            }
            acc
        };
        fastest_dot(acc: I, a: int8x16_t, b: [int8x16_t; 4]) -> I = {
            let mut acc = acc;
            for (acc, b) in acc.iter_mut().zip(b) {
                let (low, high) = (vmull_s8(vget_low_s8(b), vget_low_s8(a)), vmull_high_s8(b, a));
                let low = vmlal_s8(low, vget_low_s8(b), vget_low_s8(a));
                *acc = vpadalq_s16(vpadalq_s16(*acc, low), vmlal_high_s8(high, b, a));
            }
            acc
        };
    }

    #[inline(always)]
    #[allow(unused_unsafe, reason = "NEON is part of most AArch64 targets")]
    unsafe fn broadcast(self, a: *const u8) -> int8x16_t {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe {
            let four = vdupq_n_u32(a.cast::<u32>().read_unaligned());
            veorq_s8(vreinterpretq_s8_u32(four), vdupq_n_s8(i8::MIN))
        }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> [int8x16_t; 4] {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { load_weights(b) }
    }
}

/// Adds `a[i] * b[i]` of each four neighbouring bytes to `acc`. It is inline assembly, because the intrinsic
/// is unstable.
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn sdot(acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: the instruction reads and writes registers only, and its feature is enabled here.
    unsafe {
        asm!(
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) acc, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// `sdot` multiplies signed bytes, so 128 is subtracted from the activations and 128 times the sum of the
/// weights is added. The tile (`gemm/neon.rs`) adds it once for all rows; here it is part of every product.
impl Dot for NeonDot {
    type A = int8x16_t;
    type B = [int8x16_t; 4];

    // 16 accumulators, 4 sums of weights, 4 registers of weights and 4 of activations use 28 of 32 registers.
    const GROUP: usize = 12;
    const ROWS_I8: usize = 4;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> I = [vdupq_n_s32(0); 4];
        dot(acc: I, a: int8x16_t, b: [int8x16_t; 4]) -> I = {
            let mut acc = acc;
            for (acc, b) in acc.iter_mut().zip(b) {
                let sum = vpaddlq_s16(vpaddlq_s8(b));
                *acc = sdot(vaddq_s32(*acc, vshlq_n_s32::<7>(sum)), b, a);
            }
            acc
        };
        fastest_dot(acc: I, a: int8x16_t, b: [int8x16_t; 4]) -> I =
            [sdot(acc[0], b[0], a), sdot(acc[1], b[1], a), sdot(acc[2], b[2], a), sdot(acc[3], b[3], a)];
    }

    #[inline(always)]
    #[allow(unused_unsafe, reason = "NEON is part of most AArch64 targets")]
    unsafe fn broadcast(self, a: *const u8) -> int8x16_t {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe {
            let four = vdupq_n_u32(a.cast::<u32>().read_unaligned());
            veorq_s8(vreinterpretq_s8_u32(four), vdupq_n_s8(i8::MIN))
        }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> [int8x16_t; 4] {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { load_weights(b) }
    }
}

/// Adds `a[i] * b[i]` of each four neighbouring bytes to `acc`. It is inline assembly, because the intrinsic
/// is unstable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn usdot(acc: int32x4_t, a: uint8x16_t, b: int8x16_t) -> int32x4_t {
    let mut acc = acc;
    // SAFETY: the instruction reads and writes registers only, and its feature is enabled here.
    unsafe {
        asm!(
            "usdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) acc, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// Adds the products of two rows and two columns of eight bytes each: row 0 times column 0, row 0 times column
/// 1, row 1 times column 0, row 1 times column 1. It is inline assembly, because the intrinsic is unstable.
#[inline]
#[target_feature(enable = "neon,i8mm")]
pub(crate) fn usmmla(sums: int32x4_t, rows: uint8x16_t, columns: int8x16_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the instruction reads and writes registers only, and its feature is enabled here.
    unsafe {
        asm!(
            "usmmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums, in(vreg) rows, in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// The CPUs with products of matrices also have a dot product of unsigned and signed bytes. The tile
/// (`gemm/i8mm.rs`) does not use it.
impl Dot for NeonI8mm {
    type A = uint8x16_t;
    type B = [int8x16_t; 4];

    // Two tiles of int8.
    const GROUP: usize = 16;
    // 16 accumulators of two rows by two columns, 4 registers of weights, 4 of interleaved weights and 4 of
    // activations use 28 of 32 registers.
    const ROWS_I8: usize = 8;
    const FASTEST_INPUTS: usize = 8;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 6;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> I = [vdupq_n_s32(0); 4];
        dot(acc: I, a: uint8x16_t, b: [int8x16_t; 4]) -> I =
            [usdot(acc[0], a, b[0]), usdot(acc[1], a, b[1]), usdot(acc[2], a, b[2]), usdot(acc[3], a, b[3])];
        fastest_dot(acc: I, a: uint8x16_t, b: [int8x16_t; 4]) -> I =
            [usmmla(acc[0], a, b[0]), usmmla(acc[1], a, b[1]), usmmla(acc[2], a, b[2]), usmmla(acc[3], a, b[3])];
    }

    #[inline(always)]
    #[allow(unused_unsafe, reason = "NEON is part of most AArch64 targets")]
    unsafe fn broadcast(self, a: *const u8) -> uint8x16_t {
        // SAFETY: `self` proves the features, and the caller promises four readable bytes.
        unsafe { vreinterpretq_u8_u32(vdupq_n_u32(a.cast::<u32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> [int8x16_t; 4] {
        // SAFETY: `self` proves the features, and the caller promises 64 readable bytes.
        unsafe { load_weights(b) }
    }
}
