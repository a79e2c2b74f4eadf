//! Sixteen lanes in plain Rust, which runs everywhere.

use super::super::aligned::Line;
use super::super::isa::Scalar;
use super::{Dot, LANES, Simd};

#[inline(always)]
fn map<T: Copy, U: Copy + Default>(a: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    let mut out = [U::default(); LANES];
    for (o, x) in out.iter_mut().zip(a) {
        *o = f(x);
    }
    out
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for ((o, x), y) in out.iter_mut().zip(a).zip(b) {
        *o = f(x, y);
    }
    out
}

#[inline(always)]
fn fma(a: &[f32; LANES], b: &[f32; LANES], c: &mut [f32; LANES]) {
    for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
        *c = super::super::reference::fma(*a, *b, *c);
    }
}

/// Whether there is no instruction for [`fma`]. On x86-64 it came with AVX2.
const FMA_IS_LONG: bool =
    cfg!(any(target_family = "wasm", all(target_arch = "x86_64", not(target_feature = "fma"))));

/// The same as a call. Without an instruction for it there are some twenty for each lane, or a call of the
/// system's library. Copies of them in every kernel were a tenth of the kernels' size on x86-64, and took most
/// of the time of compiling them for WebAssembly.
#[inline(never)]
fn fma_called(a: &[f32; LANES], b: &[f32; LANES], c: &mut [f32; LANES]) {
    fma(a, b, c);
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];

    // Nearly all processors of these architectures have better tiers, and the code for every path made the
    // largest function of the library.
    const PANELS: bool = !cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

    #[inline(always)]
    fn prefetch(self, _line: &Line<[u8; 64]>) {}

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn load_int(self, x: &[i32; LANES]) -> Self::I {
        *x
    }

    #[inline(always)]
    fn store_int(self, x: Self::I, to: &mut [i32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x + y)
    }

    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x - y)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x * y)
    }

    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x / y)
    }

    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        let mut out = c;
        if FMA_IS_LONG {
            fma_called(&a, &b, &mut out);
        } else {
            fma(&a, &b, &mut out);
        }
        out
    }

    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x > y { x } else { y })
    }

    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x < y { x } else { y })
    }

    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        map(a, f32::abs)
    }

    #[inline(always)]
    fn copy_sign(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, f32::copysign)
    }

    #[inline(always)]
    fn at_least(self, a: Self::F, b: Self::F, x: Self::F) -> Self::F {
        std::array::from_fn(|i| if a[i] >= b[i] { x[i] } else { 0.0 })
    }

    #[inline(always)]
    fn head(self, n: usize, a: Self::F, b: Self::F) -> Self::F {
        let mut out = b;
        out[..n].copy_from_slice(&a[..n]);
        out
    }

    #[inline(always)]
    fn to_int(self, a: Self::F) -> Self::I {
        map(a, super::super::reference::to_int)
    }

    #[inline(always)]
    fn to_float(self, a: Self::I) -> Self::F {
        map(a, |x| x as f32)
    }

    #[inline(always)]
    fn from_bits(self, a: Self::I) -> Self::F {
        map(a, |x| f32::from_bits(x as u32))
    }

    #[inline(always)]
    fn to_bits(self, a: Self::F) -> Self::I {
        map(a, |x| x.to_bits() as i32)
    }

    #[inline(always)]
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
        let mut out = a;
        for (o, y) in out.iter_mut().zip(b) {
            *o = o.wrapping_add(y);
        }
        out
    }

    #[inline(always)]
    fn exponent(self, a: Self::I) -> Self::I {
        map(a, |x| x << 23)
    }

    #[inline(always)]
    fn narrow(self, q: [Self::I; 4], to: &mut [u8; 64]) {
        for (to, x) in to.iter_mut().zip(q.as_flattened()) {
            *to = (*x).clamp(0, 255) as u8;
        }
    }

    #[inline(always)]
    fn join(self, q: [Self::I; 4], to: &mut [i8; 64]) {
        for (lane, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *to = q.map(|v| v[lane] as i8);
        }
    }

    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        let mut a = a;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                a[i] += a[i + half];
            }
        }
        a[0]
    }
}

impl Dot for Scalar {
    type A = [u8; 4];
    type B = [i8; 64];

    const GROUP: usize = 12;
    const ROWS_I8: usize = 4;
    const STRIPS_I8: usize = 1;
    const ROWS_F32: usize = 4;
    const STRIPS_F32: usize = 1;

    #[inline(always)]
    fn zero_int(self) -> Self::I {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn broadcast(self, a: *const u8) -> Self::A {
        // SAFETY: the caller promises that four bytes can be read.
        unsafe { a.cast::<[u8; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(self, b: *const i8) -> Self::B {
        // SAFETY: the caller promises that 64 bytes can be read.
        unsafe { b.cast::<[i8; 64]>().read_unaligned() }
    }

    #[inline(always)]
    fn dot(self, acc: Self::I, a: Self::A, b: Self::B) -> Self::I {
        let mut out = acc;
        for (o, b) in out.iter_mut().zip(b.as_chunks::<4>().0) {
            for (x, y) in a.iter().zip(b) {
                *o += i32::from(*x) * i32::from(*y);
            }
        }
        out
    }
}
