//! Places rows of numbers in memory: vectors begin at a cache line, and rows do not compete for the same
//! cache sets.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

/// 64 bytes on a cache line of their own.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Line<T>(pub T);

/// Declares the types that a line may hold.
macro_rules! plain {
    ($($numbers:ty),*) => {$(
        // SAFETY: 64 bytes aligned to 64 leave no padding, and these numbers may have any bits.
        unsafe impl Zeroable for Line<$numbers> {}
        // SAFETY: as above.
        unsafe impl Pod for Line<$numbers> {}
        const _: () = assert!(size_of::<Line<$numbers>>() == 64);
    )*};
}

plain!([u8; 64], [i8; 64], [f32; 16], [[u16; 2]; 16]);

/// A vector of numbers that begins at the start of a cache line, because a load of 64 bytes that crosses a
/// line costs as much as two. It dereferences to a slice.
///
/// ```
/// use mobilebert_kernels::Aligned;
///
/// let mut x = Aligned::copy_of(&[1.0f32, 2.0]);
/// x.grow(100);
/// assert_eq!((x.as_ptr() as usize % 64, x[1], x[99], x.len()), (0, 2.0, 0.0, 100));
/// ```
#[derive(Debug, Clone)]
pub struct Aligned<T> {
    lines: Vec<Line<[u8; 64]>>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// Copies a slice.
    pub fn copy_of(values: &[T]) -> Self {
        let mut copy = Self::default();
        copy.grow(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// Grows to at least `len` numbers. New ones are 0.
    pub fn grow(&mut self, len: usize) {
        if len > self.len {
            self.lines.resize((len * size_of::<T>()).div_ceil(64), Line([0; 64]));
            self.len = len;
        }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), len: 0, of: PhantomData }
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Number of f32 from one row of `width` numbers to the next. It is a whole number of cache lines but never a
/// multiple of 512 bytes, because then the same column of all rows would compete for a few sets of the L1
/// cache.
pub fn row_stride(width: usize) -> usize {
    const APART: usize = 512 / size_of::<f32>();
    let stride = width.next_multiple_of(16);
    if stride.is_multiple_of(APART) { stride + 16 } else { stride }
}
