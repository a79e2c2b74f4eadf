//! NUMBERS -> SCALES: the int8 scheme of weights, and what it costs. Scalar arithmetic on slices, no I/O.

mod deviation;

pub use deviation::Deviation;

/// Largest magnitude of a quantised weight. -128 is left out, so that the range is symmetric.
pub const MAX: f32 = 127.0;

/// Symmetric int8 with one scale per row: `scale = max|row| / 127`, `q = round(v / scale)` half to even. A row of zeros
/// gets scale 1.
///
/// Returns the values, row-major, and one scale a row.
///
/// ```
/// let (values, scales) = mobilebert::quant::quantize_rows(&[0.5, -1.0, 0.0, 0.0], 2);
/// assert_eq!(values, [64, -127, 0, 0]);
/// assert_eq!(scales, [1.0 / 127.0, 1.0]);
/// ```
pub fn quantize_rows(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    let rows = values.chunks_exact(columns.max(1));
    let scales: Vec<f32> = rows.clone().map(scale).collect();
    let quantized = rows.zip(&scales).flat_map(|(row, &scale)| row.iter().map(move |&v| quantize(v, scale)));
    (quantized.collect(), scales)
}

fn scale(row: &[f32]) -> f32 {
    let max = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = max / MAX;
    // A denormal scale would lose the row's bits; rows this small do not matter beside any other.
    if scale < f32::MIN_POSITIVE { 1.0 } else { scale }
}

fn quantize(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-MAX, MAX) as i8
}
