//! Tests bf16: rounding has to match to the bit, and sums within the error of another order.

use half::bf16;
use proptest::prelude::*;

use super::*;

/// Rows of [`Levels::Bf16`], with gaps between them.
struct Rounded {
    bytes: Vec<u8>,
    ranges: Vec<RowRange>,
    stride: usize,
}

fn round(kernels: &dyn Kernels, rows: usize, width: usize, x: &[f32]) -> Rounded {
    let stride = row_bytes(2 * width) + 4;
    let (mut bytes, mut ranges) = (vec![0xAA; rows * stride], vec![RowRange::default(); rows]);
    let to = QuantizedRowsMut { values: &mut bytes, stride, ranges: &mut ranges, levels: Levels::Bf16 };
    kernels.quantize(rows, width, FloatRows { values: x, stride: width }, to);
    Rounded { bytes, ranges, stride }
}

fn linear(kernels: &dyn Kernels, rows: &Rounded, first: usize, count: usize, w: &PackedBf16) -> Vec<f32> {
    let values = &rows.bytes[first * rows.stride..];
    let rows = QuantizedRows { values, stride: rows.stride, ranges: &rows.ranges[first..] };
    let mut out = vec![f32::NAN; count * w.outputs()];
    kernels.gemm(Gemm {
        rows: count,
        input: Input::Bf16(rows, w.view()),
        epilogue: Epilogue::PLAIN,
        output: Output { values: &mut out, stride: w.outputs(), keep: true, quantized: None },
        ahead: &[],
    });
    out
}

/// The largest difference between two orders of summation: the rounding of `n` sums, relative to the sum of
/// magnitudes, plus the denormals that some instructions treat as 0.
fn tolerance(x: &[f32], w: &[f32], bias: f32) -> f32 {
    let magnitude: f32 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum::<f32>() + bias.abs();
    (x.len() + 2) as f32 * f32::EPSILON * magnitude + 1e-30
}

fn check(rows: usize, inputs: usize, outputs: usize, special: bool) {
    let mut n = Numbers((rows * 1000 + inputs * 10 + outputs) as u64);
    let (mut x, w, bias) = (n.take(rows * inputs), n.take(inputs * outputs), n.take(outputs));
    if special {
        with_specials(&mut x, inputs);
    }
    let packed = PackedBf16::new(inputs, &w, None, &bias);
    for kernels in supported() {
        let rounded = round(kernels, rows, inputs, &x);
        let found = linear(kernels, &rounded, 0, rows, &packed);
        for (i, found) in found.iter().enumerate() {
            let (x, w) = (&x[i / outputs * inputs..][..inputs], &w[i % outputs * inputs..][..inputs]);
            let bias = bias[i % outputs];
            let expected = reference::gemm::linear_bf16(x, w, bias);
            let what = format!("{}: {rows}x{inputs}x{outputs} [{i}]: {expected} {found}", kernels.isa());
            if expected.is_finite() {
                assert!((found - expected).abs() <= tolerance(x, w, bias), "{what}");
            } else {
                assert!(
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                    "{what}"
                );
            }
        }
        for row in 0..rows {
            let alone = linear(kernels, &rounded, row, 1, &packed);
            assert_same(kernels, "a row alone", &found[row * outputs..][..outputs], &alone);
        }
    }
}

#[test]
fn linear_over_the_ladder_of_sizes() {
    for rows in [0, 1, 3, 4, 6, 7, 16, 17, 32, 33] {
        for inputs in [0, 1, 2, 3, 15, 16, 31, 32, 33, 64, 65, 130] {
            for outputs in [1, 15, 16, 17, 33, 64, 65, 130] {
                check(rows, inputs, outputs, false);
            }
        }
    }
}

#[test]
fn linear_on_special_numbers() {
    for (inputs, outputs) in [(7, 40), (64, 64)] {
        check(60, inputs, outputs, true);
    }
}

#[test]
fn linear_of_the_models_shapes() {
    for (inputs, outputs) in [(128, 512), (512, 384), (3072, 768)] {
        check(2, inputs, outputs, false);
    }
}

fn check_rounding(width: usize, x: &[f32]) {
    let rows = x.len() / width;
    let mut expected = vec![0; row_bytes(2 * width)];
    for kernels in supported() {
        let rounded = round(kernels, rows, width, x);
        for (row, found) in rounded.bytes.chunks(rounded.stride).enumerate() {
            let x = &x[row * width..][..width];
            reference::quantize::round_row(x, &mut expected);
            assert_eq!(expected, found[..expected.len()], "{} {x:?}", kernels.isa());
        }
    }
}

#[test]
fn rounding_is_exact_on_every_kind_of_number() {
    let mut x: Vec<f32> = SPECIAL.to_vec();
    // Numbers halfway between two bf16 and next to it, and those around the limit to infinity.
    for bits in [0x3F80_8000u32, 0x3F81_8000, 0x3F80_7FFF, 0x3F80_8001, 0x7F7F_7FFF, 0x7F7F_8000, 0x7F80_0001]
    {
        x.extend([f32::from_bits(bits), f32::from_bits(bits | 1 << 31)]);
    }
    for width in [1, x.len()] {
        check_rounding(width, &x);
    }
}

proptest! {
    #[test]
    fn rounding_is_exact(x in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 1..100)) {
        check_rounding(x.len(), &x);
    }
}

/// The rows that a linear writes for the next one are its own results, rounded.
#[test]
fn results_are_rounded_for_the_next_linear() {
    let (rows, inputs) = (40, 32);
    for (outputs, activation) in [(64, Activation::Relu), (40, Activation::Identity)] {
        let mut n = Numbers(3);
        let (x, w, bias) = (n.take(rows * inputs), n.take(inputs * outputs), n.take(outputs));
        let packed = PackedBf16::new(inputs, &w, None, &bias);
        for kernels in supported() {
            let rounded = round(kernels, rows, inputs, &x);
            let (mut values, stride) = (vec![f32::NAN; rows * outputs], row_bytes(2 * outputs));
            let (mut bytes, mut ranges) = (vec![0xAA; rows * stride], vec![RowRange::default(); rows]);
            let quantized =
                QuantizedRowsMut { values: &mut bytes, stride, ranges: &mut ranges, levels: Levels::Bf16 };
            let input =
                QuantizedRows { values: &rounded.bytes, stride: rounded.stride, ranges: &rounded.ranges };
            kernels.gemm(Gemm {
                rows,
                input: Input::Bf16(input, packed.view()),
                epilogue: Epilogue { activation, ..Epilogue::PLAIN },
                output: Output {
                    values: &mut values,
                    stride: outputs,
                    keep: true,
                    quantized: Some(quantized),
                },
                ahead: &[],
            });
            let found = bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_ne_bytes(*b));
            let expected = values.iter().map(|&x| bf16::from_f32(x));
            assert!(found.eq(expected), "{}: {outputs}", kernels.isa());
            assert!(activation != Activation::Relu || values.iter().all(|&x| x >= 0.0));
        }
    }
}
