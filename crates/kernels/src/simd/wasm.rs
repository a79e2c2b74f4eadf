//! Sixteen lanes in four 128-bit registers of WebAssembly.
//!
//! Relaxed SIMD has a fused multiply-add and a dot product of bytes, but a runtime may round the former twice
//! and let the latter saturate. Results would not have the same bits everywhere, so it is not used.

use std::arch::wasm32::*;

use super::super::aligned::Line;
use super::super::isa::WasmSimd128;
use super::{Dot, LANES, Simd};

type Registers = [v128; 4];

/// Defines methods whose bodies are instructions of the token's feature.
macro_rules! instructions {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $out {
            $body
        }
    )*};
}

/// Applies an instruction to each of the four registers.
macro_rules! each {
    ($f:path, $($x:expr),+) => {
        [$f($($x[0]),+), $f($($x[1]),+), $f($($x[2]),+), $f($($x[3]),+)]
    };
}

#[inline(always)]
fn load<T: Copy>(x: &[T; LANES]) -> Registers {
    const { assert!(size_of::<T>() == 4) };
    let p = x.as_ptr().cast::<v128>();
    // SAFETY: four registers have the size of sixteen numbers of four bytes; loads need no alignment.
    unsafe { [v128_load(p), v128_load(p.add(1)), v128_load(p.add(2)), v128_load(p.add(3))] }
}

#[inline(always)]
fn store<T: Copy>(x: Registers, to: &mut [T; LANES]) {
    const { assert!(size_of::<T>() == 4) };
    let p = to.as_mut_ptr().cast::<v128>();
    for (i, x) in x.into_iter().enumerate() {
        // SAFETY: four registers have the size of sixteen numbers of four bytes; stores need no alignment.
        unsafe { v128_store(p.add(i), x) };
    }
}

#[inline(always)]
fn store_bytes<T>(x: v128, to: &mut [T; 16]) {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: a register has the size of sixteen bytes; stores need no alignment.
    unsafe { v128_store(to.as_mut_ptr().cast(), x) };
}

#[inline(always)]
fn wide_low(x: v128) -> v128 {
    f64x2_promote_low_f32x4(x)
}

#[inline(always)]
fn wide_high(x: v128) -> v128 {
    f64x2_promote_low_f32x4(i32x4_shuffle::<2, 3, 2, 3>(x, x))
}

#[inline(always)]
fn to_f32(low: v128, high: v128) -> v128 {
    i32x4_shuffle::<0, 1, 4, 5>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

/// Finds the lanes in which rounding these f64 to f32 may differ from rounding the exact sums. It cannot
/// differ unless the f64 lies exactly halfway between two f32. For a normal f32 this means that, of the 29
/// bits that are dropped, only the highest is set. Denormals drop more bits, so all of them count, except
/// zero, which is exact.
#[inline(always)]
fn doubtful(low: v128, high: v128) -> v128 {
    const NORMAL: u32 = 0x381 << 20; // the upper half of 2^-126
    let lower = i32x4_shuffle::<0, 2, 4, 6>(low, high);
    let tie = i32x4_eq(i32x4_shl(lower, 3), i32x4_splat(i32::MIN));
    let upper = i32x4_shl(i32x4_shuffle::<1, 3, 5, 7>(low, high), 1);
    // The comparison is `upper - 1 < 2 * NORMAL - 1` of unsigned numbers.
    let limit = i32x4_splat((2 * NORMAL - 1) as i32 ^ i32::MIN);
    v128_or(tie, i32x4_lt(i32x4_add(upper, i32x4_splat(i32::MAX)), limit))
}

/// Computes [`super::super::reference::fma`] on sixteen lanes.
#[cold]
#[inline(never)]
fn fma_rounded_to_odd(a: Registers, b: Registers, c: Registers) -> Registers {
    let mut out = c;
    for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
        let low = sum_to_odd(f64x2_mul(wide_low(a), wide_low(b)), wide_low(*out));
        let high = sum_to_odd(f64x2_mul(wide_high(a), wide_high(b)), wide_high(*out));
        *out = to_f32(low, high);
    }
    out
}

#[inline(always)]
fn sum_to_odd(a: v128, b: v128) -> v128 {
    let sum = f64x2_add(a, b);
    let of_b = f64x2_sub(sum, a);
    let error = f64x2_add(f64x2_sub(a, f64x2_sub(sum, of_b)), f64x2_sub(b, of_b));
    let inexact = f64x2_gt(f64x2_abs(error), f64x2_splat(0.0));
    // Subtracts 1 if the sum was rounded away from zero.
    let towards_zero = i64x2_add(sum, v128_and(inexact, i64x2_shr(v128_xor(sum, error), 63)));
    v128_or(towards_zero, v128_and(inexact, i64x2_splat(1)))
}

impl Simd for WasmSimd128 {
    type F = Registers;
    type I = Registers;

    instructions! {
        prefetch(_line: &Line<[u8; 64]>) -> () = ();
        splat(x: f32) -> Registers = [f32x4_splat(x); 4];
        load(x: &[f32; LANES]) -> Registers = load(x);
        store(x: Registers, to: &mut [f32; LANES]) -> () = store(x, to);
        load_int(x: &[i32; LANES]) -> Registers = load(x);
        store_int(x: Registers, to: &mut [i32; LANES]) -> () = store(x, to);
        add(a: Registers, b: Registers) -> Registers = each!(f32x4_add, a, b);
        sub(a: Registers, b: Registers) -> Registers = each!(f32x4_sub, a, b);
        mul(a: Registers, b: Registers) -> Registers = each!(f32x4_mul, a, b);
        div(a: Registers, b: Registers) -> Registers = each!(f32x4_div, a, b);
        // There is no such instruction, but a product of two f32 is exact in f64. If rounding the sum in f64
        // could change a lane, all lanes are computed again with the slower exact method.
        fma(a: Registers, b: Registers, c: Registers) -> Registers = {
            let (mut out, mut doubts) = (c, i32x4_splat(0));
            for (out, (a, b)) in out.iter_mut().zip(a.into_iter().zip(b)) {
                let low = f64x2_add(f64x2_mul(wide_low(a), wide_low(b)), wide_low(*out));
                let high = f64x2_add(f64x2_mul(wide_high(a), wide_high(b)), wide_high(*out));
                doubts = v128_or(doubts, doubtful(low, high));
                *out = to_f32(low, high);
            }
            if v128_any_true(doubts) { fma_rounded_to_odd(a, b, c) } else { out }
        };
        // `pmax(x, y)` is `if x < y { y } else { x }`, `pmin` the same with `y < x`.
        max(a: Registers, b: Registers) -> Registers = each!(f32x4_pmax, b, a);
        min(a: Registers, b: Registers) -> Registers = each!(f32x4_pmin, b, a);
        abs(a: Registers) -> Registers = each!(f32x4_abs, a);
        copy_sign(a: Registers, b: Registers) -> Registers = {
            let sign = [i32x4_splat(i32::MIN); 4];
            each!(v128_bitselect, b, a, sign)
        };
        at_least(a: Registers, b: Registers, x: Registers) -> Registers =
            each!(v128_and, each!(f32x4_ge, a, b), x);
        head(n: usize, a: Registers, b: Registers) -> Registers = {
            const INDEX: [i32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
            let (index, n) = (load(&INDEX), [i32x4_splat(n as i32); 4]);
            each!(v128_bitselect, a, b, each!(i32x4_lt, index, n))
        };
        // The conversion saturates and turns NaN into 0, so NaN and numbers that are too large have to be
        // changed to `i32::MIN`.
        to_int(a: Registers) -> Registers = {
            let (limit, lowest) = ([f32x4_splat(2_147_483_648.0); 4], [i32x4_splat(i32::MIN); 4]);
            let q = each!(i32x4_trunc_sat_f32x4, each!(f32x4_nearest, a));
            each!(v128_bitselect, q, lowest, each!(f32x4_lt, a, limit))
        };
        to_float(a: Registers) -> Registers = each!(f32x4_convert_i32x4, a);
        from_bits(a: Registers) -> Registers = a;
        to_bits(a: Registers) -> Registers = a;
        add_int(a: Registers, b: Registers) -> Registers = each!(i32x4_add, a, b);
        exponent(a: Registers) -> Registers =
            [i32x4_shl(a[0], 23), i32x4_shl(a[1], 23), i32x4_shl(a[2], 23), i32x4_shl(a[3], 23)];
        narrow(q: [Registers; 4], to: &mut [u8; 64]) -> () = {
            for (to, q) in to.as_chunks_mut::<16>().0.iter_mut().zip(q) {
                let (low, high) = (i16x8_narrow_i32x4(q[0], q[1]), i16x8_narrow_i32x4(q[2], q[3]));
                store_bytes(u8x16_narrow_i16x8(low, high), to);
            }
        };
        join(q: [Registers; 4], to: &mut [i8; 64]) -> () = {
            let byte = i32x4_splat(0xFF);
            for (i, to) in to.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let low = v128_or(v128_and(q[0][i], byte), i32x4_shl(v128_and(q[1][i], byte), 8));
                let high = v128_or(i32x4_shl(v128_and(q[2][i], byte), 16), i32x4_shl(q[3][i], 24));
                store_bytes(v128_or(low, high), to);
            }
        };
        sum(a: Registers) -> f32 = {
            let a = f32x4_add(f32x4_add(a[0], a[2]), f32x4_add(a[1], a[3]));
            let a = f32x4_add(a, i32x4_shuffle::<2, 3, 2, 3>(a, a));
            f32x4_extract_lane::<0>(a) + f32x4_extract_lane::<1>(a)
        };
    }
}

/// The bytes are widened to 16 bits, even and odd bytes separately, so products cannot overflow.
impl Dot for WasmSimd128 {
    type A = [v128; 2];
    type B = [Registers; 2];

    const GROUP: usize = 12;
    const ROWS_I8: usize = 4;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 4;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> Registers = [i32x4_splat(0); 4];
        dot(acc: Registers, a: [v128; 2], b: [Registers; 2]) -> Registers = {
            let mut acc = acc;
            for (acc, (even, odd)) in acc.iter_mut().zip(b[0].into_iter().zip(b[1])) {
                *acc = i32x4_add(i32x4_add(*acc, i32x4_dot_i16x8(a[0], even)), i32x4_dot_i16x8(a[1], odd));
            }
            acc
        };
    }

    #[inline(always)]
    unsafe fn broadcast(self, a: *const u8) -> [v128; 2] {
        // SAFETY: the caller promises that four bytes can be read.
        let four = unsafe { v128_load32_splat(a.cast()) };
        [v128_and(four, i16x8_splat(0xFF)), u16x8_shr(four, 8)]
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> [Registers; 2] {
        let mut wide = [[i32x4_splat(0); 4]; 2];
        for i in 0..4 {
            // SAFETY: the caller promises that 64 bytes can be read.
            let b = unsafe { v128_load(b.add(16 * i).cast()) };
            wide[0][i] = i16x8_shr(i16x8_shl(b, 8), 8);
            wide[1][i] = i16x8_shr(b, 8);
        }
        wide
    }
}
