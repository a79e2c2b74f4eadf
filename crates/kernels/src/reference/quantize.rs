//! Scalar quantisation.

use half::bf16;

/// A row whose range is narrower than this counts as constant and has the scale 0.
pub(crate) const SMALLEST_RANGE: f32 = 1e-30;

/// Ranges end at this magnitude, so that their width stays finite.
pub(crate) const LARGEST: f32 = 1.6e38;

/// The range of a quantised row, which maps it back: `x = scale * q + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RowRange {
    /// Width of a step.
    pub scale: f32,
    /// The value of `q = 0`.
    pub offset: f32,
}

/// The format to which a row is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Levels {
    /// 256 levels from the row's minimum to its maximum.
    Full,
    /// 256 levels from 0 to the row's maximum; negative numbers become 0. It is for the results of a ReLU.
    Unsigned,
    /// Every number is rounded to bf16, half to even. There is no range.
    Bf16,
}

impl Levels {
    /// Bytes of a row of this many numbers.
    pub fn bytes(self, width: usize) -> usize {
        if self == Levels::Bf16 { 2 * width } else { width }
    }
}

/// The range of a row with this smallest and largest value, and the inverse of its scale.
///
/// Both values are clamped to +-1.6e38. Then `width = high - low`, or `high` with offset 0 for
/// [`Levels::Unsigned`], and `scale = width / 255`, `inverse = 255 / width`. Scale and inverse are 0 if the
/// width is below 1e-30. A row without a number (empty, or all NaN) also has offset 0. An offset of -0
/// becomes 0, so that the order in which a minimum is taken cannot change the result.
pub fn range(low: f32, high: f32, levels: Levels) -> (RowRange, f32) {
    let high = if high < LARGEST { high } else { LARGEST };
    let high = if high > -LARGEST { high } else { -LARGEST };
    let low = if low > -LARGEST { low } else { -LARGEST };
    let low = if low < LARGEST { low } else { LARGEST };
    let offset = if levels == Levels::Unsigned || low > high { 0.0 } else { low + 0.0 };
    let width = high - offset;
    if width >= SMALLEST_RANGE {
        (RowRange { scale: width / 255.0, offset }, 255.0 / width)
    } else {
        (RowRange { scale: 0.0, offset }, 0.0)
    }
}

/// Rounds one row to [`Levels::Bf16`]. NaNs stay NaN, and numbers beyond the largest of bf16 become infinite.
pub fn round_row(x: &[f32], to: &mut [u8]) {
    for (x, to) in x.iter().zip(to.as_chunks_mut::<2>().0) {
        *to = bf16::from_f32(*x).to_ne_bytes();
    }
}

/// Quantises one row: `q = clamp(to_int(fma(x, inverse, -offset * inverse)), 0, 255)`.
///
/// NaNs do not affect the range. NaNs and infinities become 0.
pub fn quantize_row(x: &[f32], levels: Levels, q: &mut [u8]) -> RowRange {
    let low = x.iter().fold(f32::INFINITY, |m, &x| if x < m { x } else { m });
    let high = x.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m });
    let (range, inverse) = range(low, high, levels);
    let shift = -range.offset * inverse;
    for (q, x) in q.iter_mut().zip(x) {
        *q = super::to_int(super::fma(*x, inverse, shift)).clamp(0, 255) as u8;
    }
    range
}

/// The scale that maps numbers of magnitude up to `m` to -127..=127: `min(m, 1.6e38) / 127`, or 0 if `m` is
/// below 1e-30.
pub fn symmetric_scale(m: f32) -> f32 {
    let m = if m < LARGEST { m } else { LARGEST };
    if m >= SMALLEST_RANGE { m / 127.0 } else { 0.0 }
}

/// `1 / scale`; 0 for 0.
pub fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// Quantises keys, values or weights symmetrically to -127..=127 and returns the scale:
/// `q = to_int(max(min(x * inverse, 127), -127))`. A NaN becomes 127 and does not affect the scale.
pub fn quantize_symmetric(x: &[f32], q: &mut [i8]) -> f32 {
    let scale = symmetric_scale(x.iter().fold(0.0f32, |m, x| if x.abs() > m { x.abs() } else { m }));
    let inverse = inverse(scale);
    for (q, x) in q.iter_mut().zip(x) {
        let v = x * inverse;
        let v = if v < 127.0 { v } else { 127.0 };
        let v = if v > -127.0 { v } else { -127.0 };
        *q = super::to_int(v) as i8;
    }
    scale
}
