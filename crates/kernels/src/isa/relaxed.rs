//! Asks the runtime how it computes the relaxed instructions of WebAssembly.
//!
//! The specification lets each runtime choose between a few results of such an instruction. It has to choose
//! once: within a runtime, the same operands always give the same result. So a few thousand operands, computed
//! when a model is loaded, show which choice it is. A runtime that chooses differently, or computes anything
//! wrongly, gets the next lower tier.

use std::arch::wasm32::*;
use std::hint::black_box;
use std::sync::OnceLock;

use crate::reference::fma;

/// Proof that the relaxed multiply-add is rounded once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WasmFma {
    zero: usize,
}

impl WasmFma {
    /// A proof, if the runtime rounds once.
    pub(crate) fn new() -> Option<&'static Self> {
        static PROOF: OnceLock<Option<WasmFma>> = OnceLock::new();
        PROOF.get_or_init(|| rounds_once().then(|| Self { zero: black_box(0) })).as_ref()
    }

    /// 0, which the compiler does not know.
    pub(crate) fn zero(self) -> usize {
        self.zero
    }
}

/// Proof of [`WasmFma`], and that the relaxed dot product is exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WasmDot {
    fma: WasmFma,
    signed: bool,
}

impl WasmDot {
    /// A proof, if the runtime computes both so.
    pub(crate) fn new() -> Option<&'static Self> {
        static PROOF: OnceLock<Option<WasmDot>> = OnceLock::new();
        let prove = || {
            let fma = *WasmFma::new()?;
            [false, true].into_iter().find(|&signed| is_exact(signed)).map(|signed| Self { fma, signed })
        };
        PROOF.get_or_init(prove).as_ref()
    }

    /// 0, which the compiler does not know.
    pub(crate) fn zero(self) -> usize {
        self.fma.zero
    }

    /// Whether the bytes of the second operand count as signed, as by `sdot` of Arm and `vpdpbssd` of x86.
    /// Otherwise they are unsigned, as by `vpdpbusd`.
    pub(crate) fn is_signed(self) -> bool {
        self.signed
    }
}

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

/// Whether `f32x4.relaxed_madd` is [`fma`], for products that cancel to their rounding errors, sums of all
/// sizes, ties, and denormals.
fn rounds_once() -> bool {
    let mut random = Random(1);
    (0..1000).all(|round| {
        let (mut a, mut b, mut c) = ([0.0; 4], [0.0; 4], [0.0; 4]);
        for lane in 0..4 {
            let bits = [random.next(), random.next()];
            // Products of about 1, or of about 2^-126.
            let exponent = if round % 4 == 0 { 64 } else { 127 };
            let few = if round % 2 == 0 { 0x007F_F000 } else { 0x007F_FFFF };
            [a[lane], b[lane]] = bits.map(|bits| f32::from_bits(bits & (0x8000_0000 | few) | exponent << 23));
            let product: f32 = a[lane] * b[lane];
            c[lane] = match random.next() % 3 {
                0 => -product,
                1 => f32::from_bits(product.to_bits().wrapping_add((random.next() % 60) << 23) ^ 0x0055_5555),
                _ => f32::from_bits((product.to_bits() ^ random.next() & 0x807F_FFFF) & 0xFFFF_FF00),
            };
        }
        let [x, y, z] = black_box([a, b, c]).map(|[a, b, c, d]| f32x4(a, b, c, d));
        let found = f32x4_relaxed_madd(x, y, z);
        let mut lanes = [0.0f32; 4];
        // SAFETY: four numbers are as long as a register; stores need no alignment.
        unsafe { v128_store(lanes.as_mut_ptr().cast(), found) };
        (0..4).all(|i| {
            let expected = fma(a[i], b[i], c[i]);
            expected.to_bits() == lanes[i].to_bits() || expected.is_nan() && lanes[i].is_nan()
        })
    })
}

/// Whether `i32x4.relaxed_dot_i8x16_i7x16_add_s` is the exact sum of four products, with the bytes of the
/// second operand taken as signed or as unsigned ones: for each pair of bytes as all four products, which
/// shows sums of two that saturate or wrap around at 16 bits, and for bytes at random.
fn is_exact(signed: bool) -> bool {
    let mut random = Random(2);
    let equal = (0..=u8::MAX).all(|x| {
        (0..=u8::MAX).step_by(4).all(|w| {
            let lanes = [w, w + 1, w + 2, w + 3];
            is_exact_for(lanes.map(|w| [w as i8; 4]), [[x; 4]; 4], signed)
        })
    });
    equal
        && (0..1000).all(|_| {
            let (w, x) = ([(); 4].map(|()| random.next()), [(); 4].map(|()| random.next()));
            is_exact_for(w.map(|w| w.to_le_bytes().map(|w| w as i8)), x.map(u32::to_le_bytes), signed)
        })
}

fn is_exact_for(w: [[i8; 4]; 4], x: [[u8; 4]; 4], signed: bool) -> bool {
    let (w, x) = black_box((w, x));
    let start = [-5, 0, 7, 1 << 20];
    let mut lanes = start;
    // SAFETY: sixteen bytes and four numbers are as long as a register; loads and stores need no alignment.
    unsafe {
        let (w, x) = (v128_load(w.as_ptr().cast()), v128_load(x.as_ptr().cast()));
        let sums = i32x4_relaxed_dot_i8x16_i7x16_add(w, x, v128_load(start.as_ptr().cast()));
        v128_store(lanes.as_mut_ptr().cast(), sums);
    }
    let one = |x: u8| if signed { i32::from(x as i8) } else { i32::from(x) };
    lanes.iter().zip(start).zip(w.iter().zip(x)).all(|((&found, start), (w, x))| {
        found == start + w.iter().zip(x).map(|(&w, x)| i32::from(w) * one(x)).sum::<i32>()
    })
}
