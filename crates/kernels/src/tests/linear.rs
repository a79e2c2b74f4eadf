//! Tests linears of every size, with every epilogue and kind of number.

use proptest::prelude::*;

use super::*;

/// A linear on random numbers. There are gaps between the rows, and the output is filled with NaN before.
#[derive(Debug, Clone, Copy)]
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    activation: Activation,
    residual: bool,
    norm: Option<Option<f32>>,
    levels: Option<Levels>,
    keep: bool,
    int8: bool,
    special: bool,
    seed: u64,
}

struct Answer {
    values: Vec<f32>,
    bytes: Vec<u8>,
    ranges: Vec<RowRange>,
}

impl Case {
    #[allow(clippy::type_complexity, reason = "one vector for each operand")]
    fn numbers(&self) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
        let mut n = Numbers(self.seed);
        let mut x = n.take(self.rows * self.inputs);
        let w = n.take(self.inputs * self.outputs);
        let mut columns = || n.take(self.outputs);
        let (bias, gamma, norm_gamma, beta) = (columns(), columns(), columns(), columns());
        let mut residual = n.take(self.rows * self.outputs);
        if self.special {
            with_specials(&mut x, self.inputs);
            with_specials(&mut residual, 3 * self.outputs);
        }
        (x, w, bias, gamma, norm_gamma, beta, residual)
    }

    fn expected(&self) -> Answer {
        let (x, w, bias, gamma, norm_gamma, beta, residual) = self.numbers();
        let mut answer = Answer { values: vec![], bytes: vec![], ranges: vec![] };
        for row in 0..self.rows {
            let x = &x[row * self.inputs..][..self.inputs];
            let mut q = vec![0; self.inputs];
            let range = reference::quantize::quantize_row(x, Levels::Full, &mut q);
            let one = |column: usize| {
                let w = &w[column * self.inputs..][..self.inputs];
                let y = if self.int8 {
                    let mut wq = vec![0; self.inputs];
                    let scale = reference::quantize::quantize_symmetric(w, &mut wq);
                    reference::gemm::linear_i8(&q, range, &wq, scale, bias[column])
                } else {
                    reference::gemm::linear_f32(x, w, bias[column])
                };
                let r = self.residual.then(|| (residual[row * self.outputs + column], gamma[column]));
                reference::gemm::epilogue(y, self.activation, r)
            };
            let mut y: Vec<f32> = (0..self.outputs).map(one).collect();
            match self.norm {
                Some(Some(eps)) => reference::norm::layer_norm(&mut y, &norm_gamma, &beta, eps),
                Some(None) => reference::norm::affine(&mut y, &norm_gamma, &beta),
                None => {}
            }
            if let Some(levels) = self.levels {
                let mut q = vec![0; self.outputs];
                answer.ranges.push(reference::quantize::quantize_row(&y, levels, &mut q));
                answer.bytes.extend(q);
            }
            answer.values.extend(y);
        }
        answer
    }

    fn run(&self, kernels: &dyn Kernels) -> Answer {
        let (x, w, bias, gamma, norm_gamma, beta, residual) = self.numbers();
        let (rows, inputs, outputs) = (self.rows, self.inputs, self.outputs);
        // An offset of one number makes every row unaligned.
        let x: Vec<f32> = std::iter::once(0.0).chain(x).collect();
        let x = FloatRows { values: &x[1..], stride: inputs };
        let stride = row_bytes(inputs) + 4;
        let mut q = vec![0xAA; rows * stride + 1];
        let mut ranges = vec![RowRange::default(); rows];
        let to = QuantizedRowsMut { values: &mut q[1..], stride, ranges: &mut ranges, levels: Levels::Full };
        kernels.quantize(rows, inputs, x, to);
        let (int8, float) =
            (PackedI8::quantize(inputs, &w, None, &bias), PackedF32::new(inputs, &w, None, &bias));
        let input = if self.int8 {
            Input::Int8(QuantizedRows { values: &q[1..], stride, ranges: &ranges }, int8.view())
        } else {
            Input::F32(x, float.view())
        };
        let (gamma, norm_gamma, beta) = (padded(&gamma, 0.0), padded(&norm_gamma, 0.0), padded(&beta, 0.0));
        let residual = Residual { rows: FloatRows { values: &residual, stride: outputs }, gamma: &gamma };
        let norm = self.norm.map(|eps| LayerNorm { gamma: &norm_gamma, beta: &beta, eps });
        let out_stride = outputs + 3;
        let mut values = vec![f32::NAN; if self.keep { rows } else { rows.min(GROUP_ROWS) } * out_stride];
        let byte_stride = row_bytes(outputs) + 4;
        let (mut bytes, mut out_ranges) = (vec![0xAA; rows * byte_stride], vec![RowRange::default(); rows]);
        let quantized = self.levels.map(|levels| QuantizedRowsMut {
            values: &mut bytes,
            stride: byte_stride,
            ranges: &mut out_ranges,
            levels,
        });
        kernels.gemm(Gemm {
            rows,
            input,
            epilogue: Epilogue {
                activation: self.activation,
                residual: self.residual.then_some(residual),
                norm,
            },
            output: Output { values: &mut values, stride: out_stride, keep: self.keep, quantized },
            ahead: &[],
        });
        let crop = |i: usize| i % out_stride < outputs;
        let gaps = values.iter().enumerate().filter(|(i, _)| !crop(*i)).all(|(_, x)| x.is_nan());
        assert!(gaps, "{} wrote behind a row: {self:?}", kernels.isa());
        if self.levels.is_some() {
            let behind = |row: &[u8]| row[row_bytes(outputs)..].iter().all(|&byte| byte == 0xAA);
            assert!(bytes.chunks(byte_stride).all(behind), "{} wrote behind a row: {self:?}", kernels.isa());
        }
        Answer {
            values: values.into_iter().enumerate().filter(|(i, _)| crop(*i)).map(|(_, x)| x).collect(),
            bytes: bytes.chunks(byte_stride).flat_map(|row| &row[..outputs]).copied().collect(),
            ranges: out_ranges,
        }
    }

    fn check(&self) {
        let expected = self.expected();
        for kernels in supported() {
            let found = self.run(kernels);
            let what = format!("{self:?}");
            if self.keep {
                assert_same(kernels, &what, &expected.values, &found.values);
            }
            if self.levels.is_some() {
                assert_eq!(expected.ranges, found.ranges, "{} {what}", kernels.isa());
                assert_eq!(expected.bytes, found.bytes, "{} {what}", kernels.isa());
            }
        }
    }
}

const PLAIN: Case = Case {
    rows: 5,
    inputs: 32,
    outputs: 64,
    activation: Activation::Identity,
    residual: false,
    norm: None,
    levels: None,
    keep: true,
    int8: true,
    special: false,
    seed: 1,
};

#[test]
fn linear_over_the_ladder_of_sizes() {
    for int8 in [true, false] {
        for rows in [0, 1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 25, 32, 33, 65] {
            for inputs in [0, 1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 128, 129, 260] {
                for outputs in [0, 1, 15, 16, 17, 33, 63, 64, 65, 130] {
                    Case { rows, inputs, outputs, int8, levels: Some(Levels::Full), ..PLAIN }.check();
                }
            }
        }
    }
}

#[test]
fn linear_with_every_epilogue() {
    for int8 in [true, false] {
        for activation in ACTIVATIONS {
            for residual in [true, false] {
                for norm in [None, Some(None), Some(Some(1e-12))] {
                    for levels in [None, Some(Levels::Full), Some(Levels::Unsigned)] {
                        for (outputs, keep) in [(64, true), (64, false), (40, true), (72, false)] {
                            Case { outputs, activation, residual, norm, levels, keep, int8, ..PLAIN }.check();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn linear_of_the_models_shapes() {
    for (inputs, outputs) in [(128, 512), (512, 384), (384, 1536), (3072, 768)] {
        Case { rows: 2, inputs, outputs, residual: true, levels: Some(Levels::Full), ..PLAIN }.check();
    }
}

/// Weights beyond the L2 cache have groups of up to 128 rows, so these have a second group.
#[test]
fn linear_with_large_weights_and_several_groups() {
    for int8 in [true, false] {
        for rows in [127, 129, 150] {
            Case { rows, inputs: 1040, outputs: 520, int8, levels: Some(Levels::Full), ..PLAIN }.check();
        }
    }
}

/// A stride whose product with the rows overflows is refused before anything is read.
#[test]
fn strides_that_overflow_are_refused() {
    let packed = PackedI8::new(4, &[1; 4], &[1.0], &[0.0]);
    let float = PackedF32::new(4, &[1.0; 4], None, &[0.0]);
    for kernels in supported() {
        for stride in [1 << (usize::BITS - 1), usize::MAX / 2 + 1, usize::MAX] {
            let ranges = [RowRange::default(); 3];
            let int8 = Input::Int8(QuantizedRows { values: &[0; 4], stride, ranges: &ranges }, packed.view());
            let f32 = Input::F32(FloatRows { values: &[0.0; 4], stride }, float.view());
            for input in [int8, f32] {
                let run = || {
                    let mut values = [0.0; 3];
                    kernels.gemm(Gemm {
                        rows: 3,
                        input,
                        epilogue: Epilogue::PLAIN,
                        output: Output { values: &mut values, stride: 1, keep: true, quantized: None },
                        ahead: &[],
                    });
                };
                assert!(
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err(),
                    "{} {stride}",
                    kernels.isa()
                );
            }
        }
    }
}

/// One more product than fits is refused, and the largest number of them is exact.
#[test]
fn the_largest_sums_are_exact() {
    assert!(i64::from(i32::MAX) - 255 * 128 < 255 * 128 * MOST_INPUTS as i64);
    assert_eq!(
        reference::gemm::dot(&vec![255; MOST_INPUTS], &vec![-128; MOST_INPUTS]),
        -32_640 * MOST_INPUTS as i32
    );
    let pack = |inputs: usize| PackedI8::new(inputs, &vec![-128; inputs], &[1.0], &[0.0]);
    assert!(std::panic::catch_unwind(|| pack(MOST_INPUTS + 1)).is_err());
    let (packed, values) = (pack(MOST_INPUTS), vec![255; row_bytes(MOST_INPUTS)]);
    let range = RowRange { scale: 1.0, offset: 0.0 };
    for kernels in supported() {
        let mut y = [0.0];
        kernels.gemm(Gemm {
            rows: 1,
            input: Input::Int8(
                QuantizedRows { values: &values, stride: values.len(), ranges: &[range] },
                packed.view(),
            ),
            epilogue: Epilogue::PLAIN,
            output: Output { values: &mut y, stride: 1, keep: true, quantized: None },
            ahead: &[],
        });
        assert_eq!(y, [(-32_640 * MOST_INPUTS as i32) as f32], "{}", kernels.isa());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn linear_anywhere(
        (rows, inputs, outputs) in (0usize..30, 1usize..150, 1usize..150),
        activation in 0..ACTIVATIONS.len(),
        (residual, keep, int8, special) in any::<(bool, bool, bool, bool)>(),
        (norm, levels) in (0usize..3, 0usize..3),
        seed in any::<u64>(),
    ) {
        Case {
            rows, inputs, outputs, activation: ACTIVATIONS[activation], residual, keep, int8, seed, special,
            norm: [None, Some(None), Some(Some(1e-5))][norm],
            levels: [None, Some(Levels::Full), Some(Levels::Unsigned)][levels],
        }.check();
    }
}

/// Infinities, NaN and other special numbers have the results of the definition.
#[test]
fn linear_on_special_numbers() {
    for int8 in [true, false] {
        for activation in ACTIVATIONS {
            for (residual, norm) in
                [(false, None), (true, None), (true, Some(None)), (true, Some(Some(1e-12)))]
            {
                for (outputs, levels) in [(64, Some(Levels::Full)), (40, Some(Levels::Unsigned)), (130, None)]
                {
                    let special =
                        Case { rows: 60, activation, residual, norm, levels, int8, special: true, ..PLAIN };
                    Case { outputs, ..special }.check();
                    Case { outputs, inputs: 7, keep: levels.is_none(), ..special }.check();
                }
            }
        }
    }
}

/// The extreme sums of products of bytes: 255 and 0 times -128 and 127, in every lane. Tiers that subtract 128
/// from bytes multiply -128 by -128.
#[test]
fn linear_of_extreme_bytes_is_exact() {
    for inputs in [1, 4, 5, 16, 17, 64, 65, 1000, 3072] {
        let (rows, outputs) = (17, 33);
        let stride = row_bytes(inputs);
        let q = |i: usize| match i / stride % 3 {
            0 => 255,
            1 => 0,
            _ => [0, 255, 128][i % 3],
        };
        let w =
            |i: usize| if (i / inputs).is_multiple_of(2) { i8::MIN } else { [i8::MAX, i8::MIN, -1][i % 3] };
        let q: Vec<u8> = (0..rows * stride).map(q).collect();
        let w: Vec<i8> = (0..inputs * outputs).map(w).collect();
        let scales: Vec<f32> = (0..outputs).map(|i| 1.0 + i as f32).collect();
        let bias = vec![0.5; outputs];
        let ranges: Vec<RowRange> = (0..rows).map(|i| RowRange { scale: 0.25, offset: i as f32 }).collect();
        let packed = PackedI8::new(inputs, &w, &scales, &bias);
        let mut expected = Vec::new();
        for (q, range) in q.chunks(stride).zip(&ranges) {
            let one = |(w, (s, b))| reference::gemm::linear_i8(&q[..inputs], *range, w, s, b);
            expected.extend(w.chunks(inputs).zip(scales.iter().copied().zip(bias.iter().copied())).map(one));
        }
        for kernels in supported() {
            let mut values = vec![f32::NAN; rows * outputs];
            kernels.gemm(Gemm {
                rows,
                input: Input::Int8(QuantizedRows { values: &q, stride, ranges: &ranges }, packed.view()),
                epilogue: Epilogue::PLAIN,
                output: Output { values: &mut values, stride: outputs, keep: true, quantized: None },
                ahead: &[],
            });
            assert_same(kernels, &format!("{inputs} inputs"), &expected, &values);
        }
    }
}
