//! Sixteen lanes in four 128-bit registers of WebAssembly.
//!
//! Relaxed SIMD has a fused multiply-add and a dot product of bytes, but lets each runtime choose whether the
//! former rounds twice and whether the latter saturates. The tiers that use them have asked the runtime
//! ([`super::super::isa`]). `wasm-simd128` has neither.

mod exact;
#[cfg(target_feature = "relaxed-simd")]
mod relaxed;

use std::arch::wasm32::*;
use std::mem::MaybeUninit;

use super::super::aligned::Line;
use super::super::isa::WasmSimd128;
#[cfg(target_feature = "relaxed-simd")]
use super::super::isa::{WasmDot, WasmFma};
use super::{Dot, LANES, Simd, Widen};

type Registers = [v128; 4];

/// Adding 1.5 * 2^23 to a number of a magnitude below 2^22 rounds it, half to even, and leaves the integer in
/// the low bits.
const ROUNDER: f32 = 12_582_912.0;

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
use each;

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

/// One of the coefficients in all lanes, loaded from memory. A vector that the compiler knows would be put
/// together by several instructions wherever it is used. `zero` is 0, which the compiler does not know.
#[inline(always)]
fn coefficient<const N: usize>(zero: usize, coefficients: &[f32; N], i: usize) -> v128 {
    assert!(i < N);
    // SAFETY: the tokens' `zero` is 0, and `i` is below the length.
    unsafe { v128_load32_splat(coefficients.as_ptr().wrapping_byte_add(zero).add(i).cast()) }
}

/// `if x < y { y } else { x }`, also for NaN and zeros of both signs.
///
/// A compiler that may use relaxed SIMD turns this and the instruction `pmax` into `relaxed_max`, whose result is
/// the runtime's choice if a number is NaN. It cannot do so with a mask that it does not understand: `zero` is 0,
/// which it does not know.
#[inline(always)]
fn pmax(zero: usize, x: v128, y: v128) -> v128 {
    if cfg!(target_feature = "relaxed-simd") {
        v128_bitselect(y, x, v128_or(f32x4_lt(x, y), i32x4_splat(zero as i32)))
    } else {
        f32x4_pmax(x, y)
    }
}

/// `if y < x { y } else { x }`, as [`pmax`].
#[inline(always)]
fn pmin(zero: usize, x: v128, y: v128) -> v128 {
    if cfg!(target_feature = "relaxed-simd") {
        v128_bitselect(y, x, v128_or(f32x4_lt(y, x), i32x4_splat(zero as i32)))
    } else {
        f32x4_pmin(x, y)
    }
}

/// Combines the lanes of each of sixteen vectors by an operation: lane `i` of the result is that of vector `i`.
/// Lanes eight apart are combined first, then those four apart, and so on.
#[inline(always)]
fn lanes_of_each(f: impl Fn(v128, v128) -> v128, x: [Registers; LANES]) -> Registers {
    let mut out = [i32x4_splat(0); 4];
    for (out, four) in out.iter_mut().zip(x.as_chunks::<4>().0) {
        let mut of_four = [i32x4_splat(0); 4];
        for (of, x) in of_four.iter_mut().zip(four) {
            *of = f(f(x[0], x[2]), f(x[1], x[3]));
        }
        let [a, b, c, d] = of_four;
        let ab = f(i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
        let cd = f(i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
        *out = f(i32x4_shuffle::<0, 1, 4, 5>(ab, cd), i32x4_shuffle::<2, 3, 6, 7>(ab, cd));
    }
    out
}

macro_rules! simd {
    ($token:ty, $arithmetic:ident) => {
        impl Simd for $token {
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
                fma(a: Registers, b: Registers, c: Registers) -> Registers = $arithmetic::fma(a, b, c);
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
                to_int(a: Registers) -> Registers = each!($arithmetic::to_int, a);
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
                sum_each(x: [Registers; LANES]) -> Registers = lanes_of_each(|x, y| f32x4_add(x, y), x);
                small_to_int(a: Registers) -> Registers = {
                    let (rounder, bits) = (f32x4_splat(ROUNDER), i32x4_splat(ROUNDER.to_bits() as i32));
                    let mut out = a;
                    for x in &mut out {
                        *x = i32x4_sub(f32x4_add(*x, rounder), bits);
                    }
                    out
                };
            }

            #[inline(always)]
            fn levels(self, x: Registers, inverse: Registers, shift: Registers) -> Registers {
                $arithmetic::levels(self.zero(), x, inverse, shift)
            }

            #[inline(always)]
            fn max(self, a: Registers, b: Registers) -> Registers {
                let f = |x, y| pmax(self.zero(), x, y);
                each!(f, b, a)
            }

            #[inline(always)]
            fn min(self, a: Registers, b: Registers) -> Registers {
                let f = |x, y| pmin(self.zero(), x, y);
                each!(f, b, a)
            }

            #[inline(always)]
            fn largest_each(self, x: [Registers; LANES]) -> Registers {
                lanes_of_each(|x, y| pmax(self.zero(), x, y), x)
            }

            #[inline(always)]
            fn smallest_each(self, x: [Registers; LANES]) -> Registers {
                lanes_of_each(|x, y| pmin(self.zero(), x, y), x)
            }

            #[inline(always)]
            fn horner<const N: usize>(self, coefficients: &[f32; N], x: Registers) -> Registers {
                $arithmetic::horner(self.zero(), coefficients, x)
            }
        }
    };
}

simd!(WasmSimd128, exact);
#[cfg(target_feature = "relaxed-simd")]
simd!(WasmFma, relaxed);
#[cfg(target_feature = "relaxed-simd")]
simd!(WasmDot, relaxed);

/// The loads of [`Dot`], whose row and weights are registers on all tiers.
macro_rules! loads {
    () => {
        #[inline(always)]
        unsafe fn broadcast(self, a: *const u8) -> v128 {
            // SAFETY: the caller promises that four bytes can be read.
            unsafe { v128_load32_splat(a.cast()) }
        }

        #[inline(always)]
        unsafe fn weights(self, b: *const i8) -> Registers {
            // SAFETY: the caller promises that 64 bytes can be read.
            load(unsafe { &*b.cast::<[[i8; 4]; LANES]>() })
        }
    };
}

/// The bytes are widened to 16 bits, so products and the sums of two cannot overflow.
macro_rules! widened {
    ($token:ty, $rows_f32:literal) => {
        impl Dot for $token {
            type A = v128;
            type B = Registers;

            const INPUTS: usize = 2;
            const GROUP: usize = 16;
            const ROWS_I8: usize = 32;
            // Most runtimes have 15 or 16 registers for eight sums, four of weights, two of activations, and a
            // product. Three rows take half again as long per product.
            const REGISTER_ROWS_I8: usize = 2;
            const STRIPS_I8: usize = 1;
            const ROWS_F32: usize = $rows_f32;
            const STRIPS_F32: usize = 1;

            instructions! {
                zero_int() -> Registers = [i32x4_splat(0); 4];
                dot(acc: Registers, a: v128, b: Registers) -> Registers = {
                    let mut acc = acc;
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc = i32x4_add(*acc, i32x4_dot_i16x8(a, b));
                    }
                    acc
                };
            }

            loads!();
        }

        impl Widen for $token {
            #[inline(always)]
            fn widen(self, line: &[u8; 64], to: &mut MaybeUninit<[Line<[u8; 64]>; 2]>) {
                let to = to.as_mut_ptr().cast::<v128>();
                for i in 0..4 {
                    // SAFETY: a line has four registers, and `to` has eight.
                    unsafe {
                        let b = v128_load(line.as_ptr().cast::<v128>().add(i));
                        v128_store(to.add(i), i16x8_shr(i16x8_shl(b, 8), 8));
                        v128_store(to.add(4 + i), i16x8_shr(b, 8));
                    }
                }
            }
        }
    };
}

widened!(WasmSimd128, 4);
#[cfg(target_feature = "relaxed-simd")]
widened!(WasmFma, 2);

/// Four bytes of a row by four weights of each column. The register tile in `gemm` also handles runtimes that
/// take the bytes of the row for signed ones.
#[cfg(target_feature = "relaxed-simd")]
impl Dot for WasmDot {
    type A = v128;
    type B = Registers;

    const GROUP: usize = 16;
    const ROWS_I8: usize = 32;
    const REGISTER_ROWS_I8: usize = 2;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 2;
    const STRIPS_F32: usize = 1;

    instructions! {
        zero_int() -> Registers = [i32x4_splat(0); 4];
        dot(acc: Registers, a: v128, b: Registers) -> Registers = {
            let mut acc = acc;
            for (acc, b) in acc.iter_mut().zip(b) {
                *acc = i32x4_relaxed_dot_i8x16_i7x16_add(b, a, *acc);
            }
            acc
        };
    }

    loads!();
}
