//! A tensor as it is stored in an int8 folder: in 8 bits, in 4 bits, or unchanged.

use super::canonical;
use super::output::Planned;
use mobilebert::QuantizationConfig;
use mobilebert::format::Tensor;
use mobilebert::quant::{self, Bits, Deviation, GROUP, Int4, Scales};

/// The largest quotient that still rounds into the range, half a step beyond its end.
const MAX_INT8: f32 = 127.5;
const MAX_INT4: f32 = 7.5;

/// A tensor to be written.
pub(super) enum Quantized {
    /// The tensor's floats, which are not copied.
    F32,
    Int8 {
        values: Vec<i8>,
        scales: Vec<f32>,
    },
    Int4(Int4),
}

/// The loss from quantising a tensor.
#[derive(Default)]
pub(super) struct Cost {
    pub(super) clipped_rows: usize,
    pub(super) deviation: Deviation,
}

impl Quantized {
    /// Quantises a tensor to `bits`; with `None`, it stays as it is.
    pub(super) fn new(
        tensor: Tensor<'_>,
        columns: usize,
        bits: Option<Bits>,
        scales: Scales,
    ) -> (Self, Cost) {
        let found = match (tensor, bits) {
            (Tensor::F32(_), None) => Quantized::F32,
            (Tensor::Int8 { values, scales }, None | Some(Bits::Eight)) => {
                Quantized::Int8 { values: values.into_owned(), scales: scales.into_owned() }
            }
            (Tensor::F32(floats), Some(Bits::Eight)) => {
                let (values, scales) = quant::quantize_rows_with(&floats, columns, scales);
                let is_clipped =
                    |(row, scale): (&[f32], &f32)| row.iter().any(|v| v.abs() > MAX_INT8 * scale);
                let clipped_rows =
                    floats.chunks_exact(columns).zip(&scales).filter(|row| is_clipped(*row)).count();
                let deviation = deviation(&floats, &values, &scales, columns);
                return (Quantized::Int8 { values, scales }, Cost { clipped_rows, deviation });
            }
            (tensor, Some(Bits::Four)) => {
                let floats = tensor.into_f32();
                let int4 = quant::quantize_rows_int4(&floats, columns);
                let values = quant::expand_int4(&int4.nibbles, &int4.multipliers, columns);
                let deviation = deviation(&floats, &values, &int4.scales, columns);
                let clipped_rows = clipped_rows(&floats, &int4, columns);
                return (Quantized::Int4(int4), Cost { clipped_rows, deviation });
            }
        };
        (found, Cost::default())
    }

    /// Returns the name of the precision.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Quantized::F32 => "f32",
            Quantized::Int8 { .. } => Bits::Eight.name(),
            Quantized::Int4(_) => Bits::Four.name(),
        }
    }

    /// Returns the tensors of the file that this one becomes, with their bytes; `None` stands for its floats.
    pub(super) fn into_parts(self, name: &str, shape: &[usize]) -> Vec<(Planned, Option<Vec<u8>>)> {
        let part = |name: String, dtype, shape: Vec<usize>, bytes: Vec<u8>| {
            (Planned { name, dtype, shape, bytes: bytes.len() }, Some(bytes))
        };
        let scales = |scales: &[f32]| {
            let bytes = canonical::le_bytes(scales).into_owned();
            part(canonical::scale_name(name), "F32", vec![scales.len()], bytes)
        };
        let name = name.to_owned();
        match self {
            Quantized::F32 => {
                let bytes = 4 * shape.iter().product::<usize>();
                vec![(Planned { name, dtype: "F32", shape: shape.to_vec(), bytes }, None)]
            }
            Quantized::Int8 { values, scales: s } => {
                let values = values.into_iter().map(|value| value as u8).collect();
                vec![scales(&s), part(name, "I8", shape.to_vec(), values)]
            }
            Quantized::Int4(Int4 { nibbles, multipliers, scales: s }) => {
                let per_row = |bytes: &[u8]| vec![s.len(), bytes.len() / s.len().max(1)];
                let group = format!("{name}{}", QuantizationConfig::GROUP_SUFFIX);
                let (of_groups, of_nibbles) = (per_row(&multipliers), per_row(&nibbles));
                vec![
                    scales(&s),
                    part(group, "U8", of_groups, multipliers),
                    part(name, "U8", of_nibbles, nibbles),
                ]
            }
        }
    }
}

/// Returns how far the stored numbers are from the floats.
fn deviation(floats: &[f32], values: &[i8], scales: &[f32], columns: usize) -> Deviation {
    let mut deviation = Deviation::default();
    let mut stored = vec![0.0; columns];
    let rows = floats.chunks_exact(columns).zip(values.chunks_exact(columns)).zip(scales);
    for ((floats, values), scale) in rows {
        stored.iter_mut().zip(values).for_each(|(s, &v)| *s = f32::from(v) * scale);
        deviation.add(floats, &stored);
    }
    deviation
}

fn clipped_rows(floats: &[f32], int4: &Int4, columns: usize) -> usize {
    let multipliers = int4.multipliers.chunks_exact(columns.div_ceil(GROUP));
    let rows = floats.chunks_exact(columns).zip(multipliers).zip(&int4.scales);
    let is_clipped = |((row, multipliers), scale): &((&[f32], &[u8]), &f32)| {
        let mut groups = row.chunks(GROUP).zip(*multipliers);
        groups.any(|(group, &m)| group.iter().any(|v| v.abs() > MAX_INT4 * f32::from(m) * *scale))
    };
    rows.filter(is_clipped).count()
}
