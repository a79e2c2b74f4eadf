//! Measures every variant of the kernels on the shapes of MobileBERT and BERT. Each answer is compared with
//! the scalar definition before it is timed. Throughput is in multiply-adds.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mobilebert_kernels::Activation;
use mobilebert_kernels::reference::{self, quantize::quantize_symmetric};
use mobilebert_kernels::{
    Epilogue, FloatRows, Gemm, Input, Kernels, Levels, Output, PackedF32, PackedI8, QuantizedRows,
    QuantizedRowsMut, RowRange, row_bytes, supported,
};

/// Number of rows of each linear.
const ROWS: usize = 64;

/// Inputs, outputs and activation of the linears.
const SHAPES: [(usize, usize, Activation); 6] = [
    (128, 512, Activation::Relu),
    (512, 128, Activation::Identity),
    (512, 384, Activation::Identity),
    (128, 256, Activation::Identity),
    (768, 3072, Activation::Gelu),
    (3072, 768, Activation::Identity),
];

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

struct Linear {
    inputs: usize,
    outputs: usize,
    activation: Activation,
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    int8: PackedI8,
    f32: PackedF32,
    bytes: Vec<u8>,
    ranges: Vec<RowRange>,
}

impl Linear {
    fn new((inputs, outputs, activation): (usize, usize, Activation)) -> Self {
        let (x, weights, bias) =
            (numbers(ROWS * inputs, 1), numbers(inputs * outputs, 2), numbers(outputs, 3));
        let int8 = PackedI8::quantize(inputs, &weights, None, &bias);
        let f32 = PackedF32::new(inputs, &weights, None, &bias);
        let mut bytes = vec![0; ROWS * row_bytes(inputs)];
        let mut ranges = vec![RowRange::default(); ROWS];
        for (row, range) in ranges.iter_mut().enumerate() {
            let q = &mut bytes[row * inputs..][..inputs];
            *range = reference::quantize::quantize_row(&x[row * inputs..][..inputs], Levels::Full, q);
        }
        Self { inputs, outputs, activation, x, weights, bias, int8, f32, bytes, ranges }
    }

    fn levels(&self) -> Levels {
        if self.activation == Activation::Relu { Levels::Unsigned } else { Levels::Full }
    }

    fn run(
        &self,
        kernels: &dyn Kernels,
        int8: bool,
        values: &mut [f32],
        bytes: &mut [u8],
        ranges: &mut [RowRange],
    ) {
        let input = if int8 {
            let rows = QuantizedRows { values: &self.bytes, stride: self.inputs, ranges: &self.ranges };
            Input::Int8(rows, self.int8.view())
        } else {
            Input::F32(FloatRows { values: &self.x, stride: self.inputs }, self.f32.view())
        };
        let quantized =
            Some(QuantizedRowsMut { values: bytes, stride: self.outputs, ranges, levels: self.levels() });
        kernels.gemm(Gemm {
            rows: ROWS,
            input,
            epilogue: Epilogue { activation: self.activation, ..Epilogue::PLAIN },
            output: Output { values, stride: self.outputs, keep: true, quantized },
            ahead: &[],
        });
    }

    /// The first row of the result by the definition, in int8 or in f32.
    fn expected(&self, int8: bool) -> Vec<f32> {
        let (x, q) = (&self.x[..self.inputs], &self.bytes[..self.inputs]);
        let one = |(w, &bias): (&[f32], &f32)| {
            let y = if int8 {
                let mut wq = vec![0; self.inputs];
                let scale = quantize_symmetric(w, &mut wq);
                reference::gemm::linear_i8(q, self.ranges[0], &wq, scale, bias)
            } else {
                reference::gemm::linear_f32(x, w, bias)
            };
            reference::gemm::epilogue(y, self.activation, None)
        };
        self.weights.chunks(self.inputs).zip(&self.bias).map(one).collect()
    }
}

fn linears(c: &mut Criterion) {
    for shape in SHAPES {
        let linear = Linear::new(shape);
        let (inputs, outputs, activation) = shape;
        let mut values = vec![0.0; ROWS * outputs];
        let mut bytes = vec![0; ROWS * outputs];
        let mut ranges = vec![RowRange::default(); ROWS];
        for int8 in [true, false] {
            let types = if int8 { "int8" } else { "f32" };
            let mut group = c.benchmark_group(format!("linear_{types}_{inputs}x{outputs}_{activation:?}"));
            group.throughput(Throughput::Elements((ROWS * inputs * outputs) as u64));
            for kernels in supported() {
                linear.run(kernels, int8, &mut values, &mut bytes, &mut ranges);
                assert_eq!(linear.expected(int8), values[..outputs], "{} is wrong", kernels.isa());
                group.bench_function(BenchmarkId::from_parameter(kernels.isa()), |b| {
                    b.iter(|| linear.run(kernels, int8, black_box(&mut values), &mut bytes, &mut ranges));
                });
            }
            group.finish();
        }
    }
}

fn quantize(c: &mut Criterion) {
    let (width, x) = (512, numbers(ROWS * 512, 4));
    let mut expected = vec![0; width];
    let range = reference::quantize::quantize_row(&x[..width], Levels::Full, &mut expected);
    let (mut bytes, mut ranges) = (vec![0; ROWS * width], vec![RowRange::default(); ROWS]);
    let mut group = c.benchmark_group("quantize_512");
    group.throughput(Throughput::Elements((ROWS * width) as u64));
    for kernels in supported() {
        let mut run = || {
            let rows = FloatRows { values: black_box(&x), stride: width };
            let to = QuantizedRowsMut {
                values: &mut bytes,
                stride: width,
                ranges: &mut ranges,
                levels: Levels::Full,
            };
            kernels.quantize(ROWS, width, rows, to);
            (bytes[..width].to_vec(), ranges[0])
        };
        assert_eq!((expected.clone(), range), run(), "{} is wrong", kernels.isa());
        group.bench_function(BenchmarkId::from_parameter(kernels.isa()), |b| b.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, linears, quantize);
criterion_main!(benches);
