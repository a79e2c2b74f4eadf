//! NUMBERS -> SCALES: how weights are quantised to int8 and to 4 bits, and how large the errors are. It is
//! scalar arithmetic on slices, without I/O.

mod deviation;
mod int4;

use rayon::prelude::*;

use crate::error::Error;

pub use deviation::Deviation;
pub use int4::{GROUP, Int4, MAX_MULTIPLIER, expand_int4, quantize_rows_int4};

/// Largest magnitude of a quantised weight. -128 is left out, so that the range is symmetric.
pub const MAX: f32 = 127.0;

/// Bits of a stored weight. The engine computes in int8 with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bits {
    /// See [`quantize_rows`].
    #[default]
    Eight,
    /// See [`Int4`].
    Four,
}

impl Bits {
    /// The name of weights of this size: `int8` or `int4`.
    pub fn name(self) -> &'static str {
        match self {
            Bits::Eight => "int8",
            Bits::Four => "int4",
        }
    }
}

impl std::str::FromStr for Bits {
    type Err = Error;

    fn from_str(bits: &str) -> Result<Self, Error> {
        match bits {
            "8" => Ok(Bits::Eight),
            "4" => Ok(Bits::Four),
            other => Err(Error::option("bits", "8 or 4", format!("`{other}`"))),
        }
    }
}

/// The rule that chooses the scale of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scales {
    /// `max|row| / 127`, which clips no value.
    #[default]
    Max,
    /// The scale with the least squared error among 49 candidates. They are `max|row| / 127` times 1 to 0.98
    /// in steps of 0.001, and times 0.97 to 0.7 in steps of 0.01. If several have the same error, the largest
    /// is chosen. The result is never worse than with [`Scales::Max`], but the search takes longer.
    LeastError,
}

impl Scales {
    /// The name of the rule on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Scales::Max => "max",
            Scales::LeastError => "error",
        }
    }
}

impl std::str::FromStr for Scales {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = [Scales::Max, Scales::LeastError].into_iter().find(|scales| scales.name() == name);
        known.ok_or_else(|| Error::option("scales", "`max` or `error`", format!("`{name}`")))
    }
}

/// Quantises symmetrically to int8 with one scale per row: `scale = max|row| / 127`, `q = round(v / scale)`,
/// half to even. A row whose scale would be zero or denormal (below 1.2e-38) becomes
/// zeros with the scale 1.
///
/// Returns the values, row-major, and one scale a row.
///
/// ```
/// let (values, scales) = mobilebert::quant::quantize_rows(&[0.5, -1.0, 0.0, 0.0], 2);
/// assert_eq!(values, [64, -127, 0, 0]);
/// assert_eq!(scales, [1.0 / 127.0, 1.0]);
/// ```
pub fn quantize_rows(values: &[f32], columns: usize) -> (Vec<i8>, Vec<f32>) {
    quantize_rows_with(values, columns, Scales::Max)
}

/// Quantises like [`quantize_rows`], with scales chosen by the given rule. Values beyond `127 * scale` become
/// 127 or -127.
pub fn quantize_rows_with(values: &[f32], columns: usize, scales: Scales) -> (Vec<i8>, Vec<f32>) {
    let rows = values.chunks_exact(columns.max(1));
    let scales: Vec<f32> = match scales {
        Scales::Max => rows.clone().map(scale).collect(),
        Scales::LeastError => values.par_chunks_exact(columns.max(1)).map(least_error).collect(),
    };
    let quantized = rows.zip(&scales).flat_map(|(row, &scale)| row.iter().map(move |&v| quantize(v, scale)));
    (quantized.collect(), scales)
}

fn scale(row: &[f32]) -> f32 {
    let max = row.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = max / MAX;
    // A denormal scale would lose the row's bits. A row this small does not matter beside any other.
    if scale < f32::MIN_POSITIVE { 1.0 } else { scale }
}

fn least_error(row: &[f32]) -> f32 {
    // Clipping seldom reduces the error with 8 bits. Most of the gain comes from how the values happen to
    // fall on the grid, so the steps near 1 are fine.
    let thousandths = (980u16..1000).rev().chain((700..=970).rev().step_by(10));
    let max = scale(row);
    let mut best = (max, squared_error(row, max));
    for ratio in thousandths {
        let scale = max * f32::from(ratio) / 1000.0;
        let error = squared_error(row, scale);
        if scale >= f32::MIN_POSITIVE && error < best.1 {
            best = (scale, error);
        }
    }
    best.0
}

fn squared_error(row: &[f32], scale: f32) -> f64 {
    let error = |&v: &f32| f64::from(v - f32::from(quantize(v, scale)) * scale).powi(2);
    row.iter().map(error).sum()
}

fn quantize(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-MAX, MAX) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(values: &[f32], columns: usize, scales: Scales) -> Vec<f64> {
        let (q, scales) = quantize_rows_with(values, columns, scales);
        assert!(q.iter().all(|&q| q != i8::MIN) && scales.iter().all(|&s| s > 0.0));
        let rows = values.chunks_exact(columns).zip(q.chunks_exact(columns)).zip(scales);
        rows.map(|((v, q), s)| v.iter().zip(q).map(|(v, &q)| f64::from(v - f32::from(q) * s).powi(2)).sum())
            .collect()
    }

    #[test]
    fn searched_scales_never_cost_more() {
        // Rows of sums of uniform numbers, some with an outlier, some tiny, one of zeros.
        let mut seed = 1u32;
        let mut uniform = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let columns = 384;
        let mut values: Vec<f32> = (0..64 * columns).map(|_| (0..6).map(|_| uniform()).sum()).collect();
        for (row, values) in values.chunks_exact_mut(columns).enumerate() {
            match row % 4 {
                1 => values[row] *= 3.0,
                2 => values.iter_mut().for_each(|v| *v *= 1e-30),
                3 if row > 60 => values.fill(0.0),
                _ => {}
            }
        }
        let (max, least) =
            (error(&values, columns, Scales::Max), error(&values, columns, Scales::LeastError));
        assert!(max.iter().zip(&least).all(|(max, least)| least <= max));
        let better = max.iter().zip(&least).filter(|(max, least)| least < max).count();
        assert!(better > 40, "{better} of 64 rows are better");
        let (max, least): (f64, f64) = (max.iter().sum(), least.iter().sum());
        // The gain is 0.15 dB on such rows, and 0.14 and 0.11 dB on the weights of two models
        // (tests/real_models.rs).
        let db = 10.0 * (max / least).log10();
        assert!(db > 0.05, "{db}");
    }

    #[test]
    fn halves_round_to_even() {
        // The largest number is 127, so the scale is 1 and no division changes a number.
        let row = [127.0, 0.5, 1.5, 2.5, 3.5, 125.5, 126.5, -0.5, -1.5, -2.5, -3.5, -125.5, -126.5];
        let (values, scales) = quantize_rows(&row, row.len());
        assert_eq!(scales, [1.0]);
        assert_eq!(values, [127, 0, 2, 2, 4, 126, 126, 0, -2, -2, -4, -126, -126]);
    }

    #[test]
    fn of_equal_scales_the_largest_is_kept() {
        // With any scale, zeros have no error, and a number far below the scale is lost completely.
        for row in [[0.0; 4], [1e-40, -1e-40, 2e-40, 0.0], [1e-30, 0.0, 0.0, -1e-42]] {
            let ((_, max), (_, least)) =
                (quantize_rows(&row, 4), quantize_rows_with(&row, 4, Scales::LeastError));
            assert_eq!(max, least, "{row:?}");
        }
        // A row that the largest scale holds exactly.
        let (values, scales) = quantize_rows_with(&[127.0, -64.0, 0.0, 1.0], 4, Scales::LeastError);
        assert_eq!((values, scales), (vec![127, -64, 0, 1], vec![1.0]));
    }

    #[test]
    fn names_are_read_back() {
        for scales in [Scales::Max, Scales::LeastError] {
            assert_eq!(scales.name().parse::<Scales>().unwrap(), scales);
        }
        assert!("best".parse::<Scales>().is_err());
    }
}
