//! Weights that are stored in 4 bits and expand exactly to int8: `weight = q * multiplier * scale`, where
//! `q * multiplier` fits int8.

use rayon::prelude::*;

/// Number of neighbouring columns of a row that share a multiplier.
pub const GROUP: usize = 32;

/// Largest multiplier. Its product with the largest 4-bit weight, 7, is 126.
pub const MAX_MULTIPLIER: u8 = 18;

/// Largest magnitude of a 4-bit weight. -8 is left out, as -128 is of int8.
const MAX: f32 = 7.0;

/// A matrix in 4 bits. The element `[r, c]` is `q * multipliers[r, c / 32] * scales[r]`, where `q` is in
/// -7..=7 and stored in two's complement: in the lower half of byte `[r, c / 2]` for even columns, in the
/// upper half for odd columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Int4 {
    /// `[rows, ceil(columns / 2)]`, row-major. The upper half after an odd last column is 0.
    pub nibbles: Vec<u8>,
    /// `[rows, ceil(columns / 32)]`, row-major, each in 1..=18.
    pub multipliers: Vec<u8>,
    /// `[rows]`, each positive.
    pub scales: Vec<f32>,
}

/// Quantises each row to 4 bits. A search tries 16 scales for each row; for each scale and group it tries the
/// smallest multiplier that clips nothing and those down to half of it. Then it fits the scale to the rounded
/// numbers. The scale and the multipliers with the least squared error are chosen. The same numbers give the
/// same bits on all machines and for any number of threads.
///
/// ```
/// use mobilebert::quant::{expand_int4, quantize_rows_int4};
///
/// let found = quantize_rows_int4(&[0.7, -0.3, 0.1], 3);
/// assert_eq!(found.nibbles, [0xd7, 0x01]);
/// let int8 = expand_int4(&found.nibbles, &found.multipliers, 3);
/// assert_eq!(int8, [7, -3, 1].map(|q| q * found.multipliers[0] as i8));
/// assert!((f32::from(int8[0]) * found.scales[0] - 0.7).abs() < 1e-6);
/// ```
pub fn quantize_rows_int4(values: &[f32], columns: usize) -> Int4 {
    let rows: Vec<Row> = values.par_chunks_exact(columns.max(1)).map(quantize_row).collect();
    let mut all =
        Int4 { nibbles: Vec::new(), multipliers: Vec::new(), scales: Vec::with_capacity(rows.len()) };
    for (row, Row { scale, multipliers }) in values.chunks_exact(columns.max(1)).zip(rows) {
        let groups = row.chunks(GROUP).zip(&multipliers);
        let mut quantized = groups.flat_map(|(group, &multiplier)| {
            let step = scale * f32::from(multiplier);
            group.iter().map(move |v| (v / step).round_ties_even().clamp(-MAX, MAX) as i8 as u8 & 0xf)
        });
        while let Some(low) = quantized.next() {
            all.nibbles.push(low | quantized.next().unwrap_or(0) << 4);
        }
        all.multipliers.extend(multipliers);
        all.scales.push(scale);
    }
    all
}

/// Expands the nibbles and multipliers of an [`Int4`] to int8 values, which are the same weights with the
/// same scales. All multipliers have to be in 1..=18, and no nibble may be -8.
pub fn expand_int4(nibbles: &[u8], multipliers: &[u8], columns: usize) -> Vec<i8> {
    let columns = columns.max(1);
    let rows = nibbles.len() / columns.div_ceil(2);
    let mut values = vec![0; rows * columns];
    let of_rows =
        nibbles.chunks_exact(columns.div_ceil(2)).zip(multipliers.chunks_exact(columns.div_ceil(GROUP)));
    for (row, (nibbles, multipliers)) in values.chunks_exact_mut(columns).zip(of_rows) {
        let groups = row.chunks_mut(GROUP).zip(nibbles.chunks(GROUP / 2)).zip(multipliers);
        for ((values, nibbles), &multiplier) in groups {
            let multiplier = multiplier as i8;
            let (pairs, last) = values.as_chunks_mut::<2>();
            for (pair, &byte) in pairs.iter_mut().zip(nibbles) {
                *pair = [low(byte).wrapping_mul(multiplier), high(byte).wrapping_mul(multiplier)];
            }
            if let ([value], Some(&byte)) = (last, nibbles.last()) {
                *value = low(byte).wrapping_mul(multiplier);
            }
        }
    }
    values
}

fn low(byte: u8) -> i8 {
    (byte << 4) as i8 >> 4
}

fn high(byte: u8) -> i8 {
    byte as i8 >> 4
}

/// The scale and the multipliers of a row.
struct Row {
    scale: f32,
    multipliers: Vec<u8>,
}

/// Columns that share a multiplier, in units of the row's smallest scale that clips nothing. A short last
/// group is filled up with zeros.
type Group = [f32; GROUP];

fn quantize_row(row: &[f32]) -> Row {
    let largest = |values: &[f32]| values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let unit = largest(row) / (MAX * f32::from(MAX_MULTIPLIER));
    // As with int8, a row this small does not matter beside any other.
    if unit < f32::MIN_POSITIVE {
        return Row { scale: 1.0, multipliers: vec![1; row.len().div_ceil(GROUP)] };
    }
    let groups: Vec<(Group, f32)> = row
        .chunks(GROUP)
        .map(|values| {
            let mut group = [0.0; GROUP];
            group.iter_mut().zip(values).for_each(|(g, v)| *g = v / unit);
            (group, largest(&group))
        })
        .collect();
    let mut best = Choice::new(&groups, 1.0);
    for percent in (70..100u8).rev().step_by(2) {
        best = best.or(Choice::new(&groups, f32::from(percent) / 100.0));
    }
    // The fitted scale changes the roundings, so fitting it again may help.
    for _ in 0..2 {
        best = match best.fit(&groups) {
            Some(scale) => best.or(Choice::new(&groups, scale)),
            None => best,
        };
    }
    if unit * best.scale < f32::MIN_POSITIVE {
        best = Choice::new(&groups, 1.0);
    }
    Row { scale: unit * best.scale, multipliers: best.multipliers }
}

/// A scale, the best multipliers for it, and their squared error.
struct Choice {
    scale: f32,
    multipliers: Vec<u8>,
    error: f64,
}

impl Choice {
    fn new(groups: &[(Group, f32)], scale: f32) -> Self {
        let (mut multipliers, mut error) = (Vec::with_capacity(groups.len()), 0.0);
        for (group, largest) in groups {
            // Tries smaller multipliers than the smallest that clips nothing, down to half of it.
            let most = (largest / (MAX * scale)).ceil().clamp(1.0, f32::from(MAX_MULTIPLIER)) as u8;
            let mut best = (most, squared_error(group, scale * f32::from(most)));
            for multiplier in (most.div_ceil(2)..most).rev() {
                let error = squared_error(group, scale * f32::from(multiplier));
                if error < best.1 {
                    best = (multiplier, error);
                }
            }
            multipliers.push(best.0);
            error += f64::from(best.1);
        }
        Self { scale, multipliers, error }
    }

    /// The choice with the smaller error; if they are equal, `self`.
    fn or(self, other: Self) -> Self {
        if other.error < self.error { other } else { self }
    }

    /// The scale with the least squared error for the same roundings. `None` if everything is rounded to 0.
    fn fit(&self, groups: &[(Group, f32)]) -> Option<f32> {
        let (mut product, mut square) = (0.0f64, 0.0f64);
        for ((group, _), &multiplier) in groups.iter().zip(&self.multipliers) {
            let multiplier = f32::from(multiplier);
            for &v in group {
                let q = f64::from(rounded(v / (self.scale * multiplier)) * multiplier);
                product += f64::from(v) * q;
                square += q * q;
            }
        }
        (square > 0.0).then(|| (product / square) as f32)
    }
}

fn squared_error(group: &Group, step: f32) -> f32 {
    const LANES: usize = 8;
    let inverse = 1.0 / step;
    let mut sums = [0.0f32; LANES];
    for values in group.as_chunks::<LANES>().0 {
        for (sum, v) in sums.iter_mut().zip(values) {
            let error = v - rounded(v * inverse) * step;
            *sum += error * error;
        }
    }
    sums.iter().sum()
}

/// The nearest integer in -7..=7, half to even. Adding and subtracting 1.5 * 2^23 rounds in a tenth of the
/// time of `round_ties_even` on CPUs where that is a function call.
fn rounded(value: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (value.clamp(-MAX, MAX) + ROUND) - ROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of uniform numbers, in -1.5..1.5.
    fn numbers(count: usize) -> Vec<f32> {
        let mut seed = 1u32;
        let mut uniform = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count).map(|_| (0..3).map(|_| uniform()).sum()).collect()
    }

    fn weights(found: &Int4, columns: usize) -> Vec<f32> {
        let values = expand_int4(&found.nibbles, &found.multipliers, columns);
        let rows = values.chunks_exact(columns).zip(&found.scales);
        rows.flat_map(|(row, s)| row.iter().map(move |&v| f32::from(v) * s)).collect()
    }

    /// The choice of scales and multipliers may not change, because a model that is quantised again has to
    /// have the same bytes.
    #[test]
    fn bits_are_those_recorded() {
        let found = quantize_rows_int4(&numbers(4 * 200), 200);
        let bits: Vec<u32> = found.scales.iter().map(|scale| scale.to_bits()).collect();
        let fnv = |bytes: &[u8]| {
            bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        assert_eq!(bits, [0x3C25_92D1, 0x3C2F_CE63, 0x3C1B_DAB0, 0x3C08_70DA]);
        let hashes = (fnv(&found.multipliers), fnv(&found.nibbles));
        assert_eq!(hashes, (0x29A6_C56A_C15F_2F11, 0xA1C7_225C_DE17_F376));
    }

    #[test]
    fn every_number_is_within_half_a_step_unless_it_is_clipped() {
        for columns in [1, 2, 31, 32, 33, 63, 65, 384] {
            let rows = 5;
            let values = numbers(rows * columns);
            let found = quantize_rows_int4(&values, columns);
            assert_eq!(found.nibbles.len(), rows * columns.div_ceil(2));
            assert_eq!(found.multipliers.len(), rows * columns.div_ceil(GROUP));
            assert_eq!(found.scales.len(), rows);
            assert!(found.multipliers.iter().all(|m| (1..=MAX_MULTIPLIER).contains(m)));
            let stored = weights(&found, columns);
            for (i, (value, stored)) in values.iter().zip(&stored).enumerate() {
                let (row, column) = (i / columns, i % columns);
                let multiplier = found.multipliers[row * columns.div_ceil(GROUP) + column / GROUP];
                let step = f32::from(multiplier) * found.scales[row];
                let error = (value.clamp(-MAX * step, MAX * step) - stored).abs();
                assert!(error <= 0.5001 * step, "{columns} columns, {row}, {column}: {value} is {stored}");
            }
        }
    }

    #[test]
    fn halves_are_where_the_format_says() {
        let int8 = expand_int4(&[0x29, 0x07, 0xf1, 0x0e], &[18, 1], 3);
        assert_eq!(int8, [-7 * 18, 2 * 18, 7 * 18, 1, -1, -2]);
        // The group of column 32 has its own multiplier.
        let mut nibbles = [0x11; 17];
        nibbles[16] = 0x03;
        let int8 = expand_int4(&nibbles, &[2, 5], 33);
        assert_eq!((&int8[..32], int8[32]), (&[2; 32][..], 15));
        assert_eq!(expand_int4(&[], &[], 8), [0; 0]);
    }

    #[test]
    fn what_four_bits_can_hold_is_held_exactly() {
        let columns = 64;
        let levels: Vec<f32> = (0..columns).map(|i| (i % 15) as f32 - 7.0).collect();
        let values: Vec<f32> =
            levels.iter().enumerate().map(|(i, l)| l * if i < 32 { 1.0 } else { 0.5 }).collect();
        assert_eq!(weights(&quantize_rows_int4(&values, columns), columns), values);
    }

    #[test]
    fn halves_round_to_even() {
        for (value, nearest) in
            [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (6.5, 6.0), (7.5, 7.0), (0.51, 1.0), (9.0, 7.0)]
        {
            assert_eq!((rounded(value), rounded(-value)), (nearest, -nearest), "{value}");
        }
        // All but two numbers are whole multiples of 18, so no other step is better; those two are half of a
        // step.
        let mut row = [0.0; GROUP];
        for (i, value) in row.iter_mut().enumerate() {
            *value = (i % 15) as f32 * 18.0 - 126.0;
        }
        (row[3], row[8]) = (9.0, -9.0);
        let found = quantize_rows_int4(&row, GROUP);
        assert_eq!((&found.multipliers[..], &found.scales[..]), (&[18][..], &[1.0][..]));
        let values = expand_int4(&found.nibbles, &found.multipliers, GROUP);
        assert_eq!((values[3], values[8], values[9]), (0, 0, 36));
    }

    #[test]
    fn a_short_last_group_is_one_of_zeros() {
        let values = numbers(33);
        let padded: Vec<f32> = values.iter().copied().chain([0.0; 31]).collect();
        let (short, long) = (quantize_rows_int4(&values, 33), quantize_rows_int4(&padded, 64));
        assert_eq!((short.scales, short.multipliers), (long.scales, long.multipliers));
        assert_eq!(short.nibbles, long.nibbles[..17]);
        assert_eq!(short.nibbles[16] >> 4, 0);
        // 8 is four times 2. A multiplier of 1 would clip it in favour of small numbers, of which this group
        // has none.
        let values: Vec<f32> = (0..32).map(|i| (i % 15) as f32 * 18.0 - 126.0).chain([8.0]).collect();
        assert_eq!(quantize_rows_int4(&values, 33).multipliers, [18, 2]);
    }

    #[test]
    fn a_scale_is_fitted_to_its_roundings() {
        let mut group = [0.0; GROUP];
        for (i, value) in group.iter_mut().enumerate() {
            *value = ((i % 15) as f32 - 7.0) * 3.0 * 10.2;
        }
        let choice = |scale| Choice { scale, multipliers: vec![3], error: 0.0 };
        let fitted = choice(10.0).fit(&[(group, 214.2)]).unwrap();
        assert!((fitted - 10.2).abs() < 1e-5, "{fitted}");
        assert_eq!(choice(10.0).fit(&[([0.0; GROUP], 0.0)]), None);
    }

    #[test]
    fn groups_keep_small_numbers_beside_large_ones() {
        let columns = 64;
        let mut values = numbers(columns);
        values[32..].iter_mut().for_each(|v| *v *= 15.0);
        let found = weights(&quantize_rows_int4(&values, columns), columns);
        let noise: f32 = values[..32].iter().zip(&found).map(|(v, f)| (v - f).powi(2)).sum();
        let signal: f32 = values[..32].iter().map(|v| v * v).sum();
        // With one step size for the whole row, all of these numbers would become 0.
        assert!(noise < 0.02 * signal, "{noise} of {signal}");
    }

    #[test]
    fn searching_pays() {
        let columns = 128;
        let values = numbers(64 * columns);
        let error =
            |found: &[f32]| values.iter().zip(found).map(|(v, f)| f64::from(v - f).powi(2)).sum::<f64>();
        let unclipped = values.chunks(GROUP).flat_map(|group| {
            let step = group.iter().fold(0.0f32, |max, v| max.max(v.abs())) / MAX;
            group.iter().map(move |v| (v / step).round_ties_even() * step)
        });
        let (unclipped, found) = (
            error(&unclipped.collect::<Vec<_>>()),
            error(&weights(&quantize_rows_int4(&values, columns), columns)),
        );
        // `unclipped` has one f32 scale for each group, which takes four times the space of a multiplier.
        let db = 10.0 * (unclipped / found).log10();
        assert!(db > 0.3, "{db}");
    }

    #[test]
    fn extremes_stay_finite() {
        for value in [0.0, f32::MIN_POSITIVE, 1e-40, 1e-30, 1.0, 1e38] {
            let values = [value, -value, value / 3.0, 0.0];
            let found = quantize_rows_int4(&values, 4);
            assert!(found.scales[0] >= f32::MIN_POSITIVE && found.scales[0].is_finite(), "{value}");
            let stored = weights(&found, 4);
            assert!(stored.iter().all(|v| v.is_finite()), "{value}: {stored:?}");
            assert!(value < 1e-35 || (stored[0] / value - 1.0).abs() < 0.1, "{value}: {stored:?}");
        }
    }
}
