//! The multiplication of a register tile for each type of number: four bytes of a row by one line of weights,
//! for sixteen columns.

use crate::simd::{Dot, LANES};

/// The multiply-accumulate of a tile, and the rows and strips that fit the registers.
///
/// A value is a proof token, like those of [`crate::simd`].
pub(crate) trait Products: Copy {
    /// Sixteen sums.
    type Sum: Copy;
    /// Four bytes of a row, in every lane.
    type Row: Copy;
    /// A line of weights.
    type Weights: Copy;

    /// Rows of the tile.
    const ROWS: usize;
    /// Strips of the tile.
    const STRIPS: usize;

    fn zero(self) -> Self::Sum;

    /// # Safety
    /// Four bytes can be read at `x`.
    unsafe fn row(self, x: *const u8) -> Self::Row;

    /// # Safety
    /// 64 bytes can be read at `line`, the start of a [`crate::Line`].
    unsafe fn weights(self, line: *const u8) -> Self::Weights;

    /// Adds the products of four bytes of a row and a line of weights to the sums.
    fn add(self, sum: Self::Sum, x: Self::Row, w: Self::Weights) -> Self::Sum;

    /// The same as [`Products::add`] without the part that tiles do once for all their rows. The measurement
    /// of the peak uses it.
    #[inline(always)]
    fn fastest(self, sum: Self::Sum, x: Self::Row, w: Self::Weights) -> Self::Sum {
        self.add(sum, x, w)
    }

    /// Stores the sums, as i32 or as the bits of f32.
    fn store(self, sum: Self::Sum, to: &mut [i32; LANES]);
}

/// Multiplies four 8-bit numbers by four int8 weights of each column, exactly. On instruction sets that widen
/// them first, it is two numbers of 16 bits instead.
#[derive(Clone, Copy)]
pub(crate) struct Int8<S>(pub(crate) S);

impl<S: Dot> Products for Int8<S> {
    type Sum = S::I;
    type Row = S::A;
    type Weights = S::B;

    const ROWS: usize = S::REGISTER_ROWS_I8;
    const STRIPS: usize = S::STRIPS_I8;

    #[inline(always)]
    fn zero(self) -> S::I {
        self.0.zero_int()
    }

    #[inline(always)]
    unsafe fn row(self, x: *const u8) -> S::A {
        // SAFETY: the caller's.
        unsafe { self.0.broadcast(x) }
    }

    #[inline(always)]
    unsafe fn weights(self, line: *const u8) -> S::B {
        // SAFETY: the caller's.
        unsafe { self.0.weights(line.cast()) }
    }

    #[inline(always)]
    fn add(self, sum: S::I, x: S::A, w: S::B) -> S::I {
        self.0.dot(sum, x, w)
    }

    #[inline(always)]
    fn fastest(self, sum: S::I, x: S::A, w: S::B) -> S::I {
        self.0.fastest_dot(sum, x, w)
    }

    #[inline(always)]
    fn store(self, sum: S::I, to: &mut [i32; LANES]) {
        self.0.store_int(sum, to);
    }
}

/// Multiplies one f32 by one weight of each column. A sum is a chain of fma over the inputs, in order.
#[derive(Clone, Copy)]
pub(crate) struct F32<S>(pub(crate) S);

impl<S: Dot> Products for F32<S> {
    type Sum = S::F;
    type Row = S::F;
    type Weights = S::F;

    const ROWS: usize = S::ROWS_F32;
    const STRIPS: usize = S::STRIPS_F32;

    #[inline(always)]
    fn zero(self) -> S::F {
        self.0.zero()
    }

    #[inline(always)]
    unsafe fn row(self, x: *const u8) -> S::F {
        // SAFETY: the caller's.
        self.0.splat(unsafe { x.cast::<f32>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn weights(self, line: *const u8) -> S::F {
        // SAFETY: the caller's; a line is aligned to more than its numbers need.
        self.0.load(unsafe { &*line.cast::<[f32; LANES]>() })
    }

    #[inline(always)]
    fn add(self, sum: S::F, x: S::F, w: S::F) -> S::F {
        self.0.fma(x, w, sum)
    }

    #[inline(always)]
    fn store(self, sum: S::F, to: &mut [i32; LANES]) {
        self.0.store_int(self.0.to_bits(sum), to);
    }
}

/// Multiplies two bf16 by two weights of each column on any CPU, by f32 operations: a bf16 is the upper half
/// of an f32.
#[derive(Clone, Copy)]
pub(crate) struct Bf16<S>(pub(crate) S);

impl<S: Dot> Products for Bf16<S> {
    type Sum = S::F;
    type Row = [S::F; 2];
    type Weights = [S::F; 2];

    // A line takes two vectors, so fewer sums fit the registers than with f32.
    const ROWS: usize = if S::STRIPS_F32 > 1 { 6 } else { 4 };
    const STRIPS: usize = if S::STRIPS_F32 > 1 { 2 } else { 1 };

    #[inline(always)]
    fn zero(self) -> S::F {
        self.0.zero()
    }

    #[inline(always)]
    unsafe fn row(self, x: *const u8) -> [S::F; 2] {
        // SAFETY: the caller's.
        let pair = unsafe { x.cast::<u32>().read_unaligned() };
        [self.0.splat(f32::from_bits(pair << 16)), self.0.splat(f32::from_bits(pair & 0xFFFF_0000))]
    }

    #[inline(always)]
    unsafe fn weights(self, line: *const u8) -> [S::F; 2] {
        // SAFETY: the caller's; a line is aligned to more than its numbers need.
        let pairs = self.0.load_int(unsafe { &*line.cast::<[i32; LANES]>() });
        [self.0.low_halves(pairs), self.0.high_halves(pairs)]
    }

    #[inline(always)]
    fn add(self, sum: S::F, x: [S::F; 2], w: [S::F; 2]) -> S::F {
        self.0.fma(x[1], w[1], self.0.fma(x[0], w[0], sum))
    }

    #[inline(always)]
    fn store(self, sum: S::F, to: &mut [i32; LANES]) {
        self.0.store_int(self.0.to_bits(sum), to);
    }
}

/// Multiplies two bf16 by two weights of each column in one instruction.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{LANES, Products};
    use crate::isa::Avx512Bf16;

    impl Products for Avx512Bf16 {
        type Sum = __m512;
        type Row = __m512bh;
        type Weights = __m512bh;

        // The registers hold 24 sums, four lines and a row, as for int8.
        const ROWS: usize = 6;
        const STRIPS: usize = 4;

        #[inline(always)]
        fn zero(self) -> __m512 {
            // SAFETY: `self` proves the features.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn row(self, x: *const u8) -> __m512bh {
            // SAFETY: `self` proves the features, the caller promises that four bytes can be read, and any
            // bits are bf16.
            unsafe { transmute(_mm512_set1_epi32(x.cast::<i32>().read_unaligned())) }
        }

        #[inline(always)]
        unsafe fn weights(self, line: *const u8) -> __m512bh {
            // SAFETY: `self` proves the features, the caller promises that 64 bytes can be read, and any bits
            // are bf16.
            unsafe { transmute(_mm512_loadu_si512(line.cast())) }
        }

        #[inline(always)]
        fn add(self, sum: __m512, x: __m512bh, w: __m512bh) -> __m512 {
            // SAFETY: `self` proves the features.
            unsafe { _mm512_dpbf16_ps(sum, x, w) }
        }

        #[inline(always)]
        fn store(self, sum: __m512, to: &mut [i32; LANES]) {
            // SAFETY: `self` proves the features; sixteen numbers can be written.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr().cast(), sum) }
        }
    }
}
