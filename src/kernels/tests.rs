//! Every variant that this CPU can run, against the scalar definitions.

use proptest::prelude::*;

use super::*;
use crate::graph::Activation;

const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::Gelu, Activation::GeluNew, Activation::Tanh];

/// Numbers in -1..1 from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn take(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// Equal bits; all NaNs are equal.
fn assert_same(kernels: &dyn Kernels, what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{}: {what}: length", kernels.isa());
    let differ = |(i, (e, f)): (usize, (&f32, &f32))| {
        (e.to_bits() != f.to_bits() && !(e.is_nan() && f.is_nan())).then(|| format!("[{i}] {e:?} != {f:?}"))
    };
    let failures: Vec<String> = expected.iter().zip(found).enumerate().filter_map(differ).collect();
    let some: Vec<_> = failures.iter().take(3).collect();
    assert!(failures.is_empty(), "{}: {what}: {} differ: {some:?}", kernels.isa(), failures.len());
}

/// One linear on random numbers, with a gap between rows and outputs that begin as NaN.
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
        let x = n.take(self.rows * self.inputs);
        let w = n.take(self.inputs * self.outputs);
        let mut columns = || n.take(self.outputs);
        let (bias, gamma, norm_gamma, beta) = (columns(), columns(), columns(), columns());
        let residual = n.take(self.rows * self.outputs);
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
        // One number of offset makes every row unaligned.
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
    seed: 1,
};

#[test]
fn linear_over_the_ladder_of_sizes() {
    for int8 in [true, false] {
        for rows in [0, 1, 3, 4, 5, 6, 7, 12, 13, 16, 17, 25, 32, 33] {
            for inputs in [1, 3, 4, 5, 64, 65, 128] {
                for outputs in [1, 15, 16, 17, 33, 63, 64, 65, 130] {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn linear_anywhere(
        (rows, inputs, outputs) in (0usize..30, 1usize..150, 1usize..150),
        activation in 0usize..5,
        (residual, keep, int8) in any::<(bool, bool, bool)>(),
        (norm, levels) in (0usize..3, 0usize..3),
        seed in any::<u64>(),
    ) {
        Case {
            rows, inputs, outputs, activation: ACTIVATIONS[activation], residual, keep, int8, seed,
            norm: [None, Some(None), Some(Some(1e-5))][norm],
            levels: [None, Some(Levels::Full), Some(Levels::Unsigned)][levels],
        }.check();
    }

    #[test]
    fn quantise_anything(x in prop::collection::vec(any::<f32>(), 0..200), unsigned in any::<bool>()) {
        check_quantize(&x, if unsigned { Levels::Unsigned } else { Levels::Full });
    }

    #[test]
    fn normalise_anything(x in prop::collection::vec(any::<f32>(), 1..200)) {
        check_norm(&x);
    }
}

fn check_quantize(x: &[f32], levels: Levels) {
    let mut q = vec![0; x.len()];
    let expected = reference::quantize::quantize_row(x, levels, &mut q);
    for kernels in supported() {
        let mut found = vec![0xAA; row_bytes(x.len()).max(1)];
        let mut range = [RowRange::default()];
        let stride = row_bytes(x.len());
        let to = QuantizedRowsMut { values: &mut found, stride, ranges: &mut range, levels };
        kernels.quantize(1, x.len(), FloatRows { values: x, stride: x.len() }, to);
        assert_eq!(expected, range[0], "{}: {x:?}", kernels.isa());
        assert_eq!(q, found[..x.len()], "{}: {x:?}", kernels.isa());
    }
}

fn check_norm(x: &[f32]) {
    let mut n = Numbers(7);
    let (gamma, beta) = (n.take(x.len()), n.take(x.len()));
    let (g, b) = (padded(&gamma, 0.0), padded(&beta, 0.0));
    for eps in [None, Some(1e-12)] {
        let mut expected = x.to_vec();
        match eps {
            Some(eps) => reference::norm::layer_norm(&mut expected, &gamma, &beta, eps),
            None => reference::norm::affine(&mut expected, &gamma, &beta),
        }
        for kernels in supported() {
            let mut found = x.to_vec();
            kernels.normalize(x.len(), &mut found, LayerNorm { gamma: &g, beta: &b, eps });
            assert_same(kernels, &format!("{x:?}"), &expected, &found);
        }
    }
}

#[test]
fn quantise_and_normalise_extremes() {
    let specials = [
        vec![0.0; 20],
        vec![-0.0; 3],
        vec![7.5; 65],
        vec![f32::MAX, f32::MIN],
        vec![f32::MAX; 17],
        vec![f32::MIN_POSITIVE, 0.0, 1e-40, -1e-45],
        vec![f32::NAN; 19],
        vec![f32::NAN, 1.0, 2.0],
        vec![f32::INFINITY, 1.0, f32::NEG_INFINITY],
        vec![f32::NEG_INFINITY; 4],
        vec![1e30, -1e-30, 3.0],
        (0..130).map(|i| i as f32 - 3.0).collect(),
    ];
    for x in specials {
        check_quantize(&x, Levels::Full);
        check_quantize(&x, Levels::Unsigned);
        check_norm(&x);
    }
}

#[test]
fn quantised_rows_are_within_half_a_step() {
    let x = Numbers(3).take(512);
    let mut q = vec![0; 512];
    let range = reference::quantize::quantize_row(&x, Levels::Full, &mut q);
    for (x, q) in x.iter().zip(q) {
        let back = range.scale.mul_add(f32::from(q), range.offset);
        assert!((x - back).abs() <= 0.5001 * range.scale, "{x} {back}");
    }
}

/// Keys and values of one head, packed by `kernels`.
struct Head {
    keys: Vec<Line<[i8; 64]>>,
    key_scales: Vec<KeyScales>,
    values: Vec<Line<[i8; 64]>>,
    value_scales: Vec<Line<[f32; 16]>>,
    keys_f32: Vec<Line<[f32; 16]>>,
    values_f32: Vec<Line<[f32; 16]>>,
}

impl Head {
    fn pack(kernels: &dyn Kernels, tokens: usize, size: usize, k: &[f32], v: &[f32]) -> Self {
        let (strips, dimensions) = (tokens.div_ceil(16), size.div_ceil(16));
        let slots = slots(tokens);
        let mut head = Self {
            keys: vec![Line([77; 64]); strips * size.div_ceil(4)],
            key_scales: vec![KeyScales::default(); strips],
            values: vec![Line([77; 64]); dimensions * slots / 4],
            value_scales: vec![Line([0.0; 16]); strips],
            keys_f32: vec![Line([0.0; 16]); strips * size],
            values_f32: vec![Line([0.0; 16]); dimensions * slots],
        };
        let (k, v) = (FloatRows { values: k, stride: size }, FloatRows { values: v, stride: size });
        kernels.pack_keys((tokens, size), k, &mut head.keys, &mut head.key_scales);
        kernels.value_scales((tokens, size), v, &mut head.value_scales);
        pack_keys_f32((tokens, size), k, &mut head.keys_f32);
        for d in 0..dimensions {
            let columns = (size - 16 * d).min(16);
            let x = FloatRows { values: &v.values[16 * d..], stride: size };
            let to = d * slots / 4;
            kernels.pack_values((tokens, columns), x, &head.value_scales, &mut head.values[to..]);
            pack_values_f32((tokens, columns), x, &mut head.values_f32[d * slots..]);
        }
        head
    }
}

fn check_attention(rows: usize, tokens: usize, size: usize, factor: f32) {
    let mut n = Numbers(rows as u64 * 31 + tokens as u64);
    let (q, k, v) = (n.take(rows * size), n.take(tokens * size), n.take(tokens * size));
    let q: Vec<f32> = q.iter().map(|x| x * factor).collect();
    let scale = 1.0 / (size as f32).sqrt();
    let quantised = |x: &[f32]| -> Vec<(Vec<i8>, f32)> {
        let one = |x: &[f32]| {
            let mut q = vec![0; size];
            let scale = reference::quantize::quantize_symmetric(x, &mut q);
            (q, scale)
        };
        x.chunks(size).map(one).collect()
    };
    let (kq, vq) = (quantised(&k), quantised(&v));
    let split = |x: &[f32]| x.chunks(size).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (kf, vf) = (split(&k), split(&v));
    let (mut int8, mut float) = (vec![], vec![]);
    for q in q.chunks(size) {
        let mut bytes = vec![0; size];
        let range = reference::quantize::quantize_row(q, Levels::Full, &mut bytes);
        int8.extend(reference::attention::attention_i8((&bytes, range), &kq, &vq, scale));
        float.extend(reference::attention::attention_f32(q, &kf, &vf, scale));
    }
    for kernels in supported() {
        let head = Head::pack(kernels, tokens, size, &k, &v);
        let rows_f32 = FloatRows { values: &q, stride: size };
        let stride = row_bytes(size);
        let (mut bytes, mut ranges) = (vec![0; rows * stride], vec![RowRange::default(); rows]);
        let to = QuantizedRowsMut { values: &mut bytes, stride, ranges: &mut ranges, levels: Levels::Full };
        kernels.quantize(rows, size, rows_f32, to);
        let kv = KeysValuesI8 {
            keys: &head.keys,
            key_scales: &head.key_scales,
            values: &head.values,
            value_scales: &head.value_scales,
        };
        let kv_f32 = KeysValuesF32 { keys: &head.keys_f32, values: &head.values_f32 };
        let queries = QuantizedRows { values: &bytes, stride, ranges: &ranges };
        let inputs =
            [(AttentionInput::Int8(queries, kv), &int8), (AttentionInput::F32(rows_f32, kv_f32), &float)];
        for (input, expected) in inputs {
            let mut scores = vec![f32::NAN; ATTENTION_ROWS * slots(tokens)];
            let mut weights = vec![0xAA; ATTENTION_ROWS * slots(tokens)];
            let mut output = vec![f32::NAN; rows * size];
            kernels.attention(Attention {
                rows,
                tokens,
                head_size: size,
                scale,
                input,
                scores: &mut scores,
                weights: &mut weights,
                output: &mut output,
                stride: size,
            });
            assert_same(kernels, &format!("attention {rows} x {tokens} x {size}"), expected, &output);
        }
    }
    let error = int8.iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 0.03, "int8 attention is off by {error}");
}

#[test]
fn attention_over_the_ladder_of_sizes() {
    for size in [1, 5, 16, 32, 40, 64, 96] {
        for tokens in [1, 2, 3, 15, 16, 17, 63, 64, 65, 130] {
            for rows in [0, 1, 6, 13, 17, 40] {
                check_attention(rows, tokens, size, 1.0);
            }
        }
    }
    check_attention(12, 512, 32, 4.0);
}

#[test]
fn embeddings_are_added_and_normalised() {
    for width in [1, 16, 40, 128] {
        let mut n = Numbers(5);
        let (x, position, token_type) = (n.take(3 * width), n.take(9 * width), n.take(2 * width));
        let (gamma, beta) = (n.take(width), n.take(width));
        let type_ids = [0, 1, 1];
        let mut expected = x.clone();
        for (row, x) in expected.chunks_mut(width).enumerate() {
            let (p, t) = (&position[(row + 4) * width..], &token_type[type_ids[row] as usize * width..]);
            for (i, x) in x.iter_mut().enumerate() {
                *x = (*x + p[i]) + t[i];
            }
            reference::norm::layer_norm(x, &gamma, &beta, 1e-12);
        }
        for kernels in supported() {
            let mut found = x.clone();
            kernels.position_and_type(PositionAndType {
                values: &mut found,
                stride: width,
                width,
                position: &position,
                first: 4,
                token_type: &token_type,
                type_ids: &type_ids,
                norm: LayerNorm { gamma: &padded(&gamma, 0.0), beta: &padded(&beta, 0.0), eps: Some(1e-12) },
            });
            assert_same(kernels, "position and type", &expected, &found);
        }
    }
}

/// Largest error of a scalar function against f64, over steps of 1/1024 in -10..10 and large numbers.
fn largest_error(function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
    let grid = (-10_240..10_240).map(|i| i as f32 / 1024.0).chain([-1e30, -100.0, 100.0, 1e30]);
    grid.map(|x| (f64::from(function(x)) - truth(f64::from(x))).abs() / (1.0 + 0.2 * f64::from(x.abs())))
        .fold(0.0, f64::max)
}

/// erf by its series, and erfc by a continued fraction where the series cancels.
fn erf(x: f64) -> f64 {
    let z = x.abs();
    let value = if z < 3.0 {
        let mut term = z;
        let mut sum = z;
        for n in 1..80 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(z, |f, k| z + f64::from(k) / 2.0 / f);
        1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

#[test]
fn activations_are_within_their_bounds() {
    let of = |a| move |x| reference::activation::activation(a, x);
    let gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
    let gelu_new =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    let gelu_error = largest_error(of(Activation::Gelu), gelu);
    let gelu_new_error = largest_error(of(Activation::GeluNew), gelu_new);
    let tanh_error = largest_error(of(Activation::Tanh), f64::tanh);
    assert!(gelu_error < 3e-7, "{gelu_error}");
    assert!(gelu_new_error < 3e-7, "{gelu_new_error}");
    assert!(tanh_error < 2e-7, "{tanh_error}");
    let relative = |exp2: fn(f32) -> f32| {
        (0..=126 * 1024)
            .map(|i| -f64::from(i) / 1024.0)
            .map(|t| (f64::from(exp2(t as f32)) / t.exp2() - 1.0).abs())
            .fold(0.0, f64::max)
    };
    let fine = relative(reference::activation::exp2);
    let coarse = relative(reference::activation::exp2_coarse);
    assert!(fine < 2e-7, "{fine}");
    assert!(coarse < 1.1e-4, "{coarse}");
}

#[test]
fn special_numbers_pass_through_activations() {
    use reference::activation::{activation, exp2};
    for a in [Activation::Identity, Activation::Relu, Activation::Gelu, Activation::GeluNew] {
        assert!(activation(a, f32::NAN).is_nan(), "{a:?}");
        assert_eq!(activation(a, f32::INFINITY), f32::INFINITY, "{a:?}");
        assert_eq!(activation(a, 0.0), 0.0, "{a:?}");
    }
    assert_eq!(activation(Activation::Tanh, f32::NEG_INFINITY), -1.0);
    assert_eq!(exp2(f32::NEG_INFINITY), f32::MIN_POSITIVE);
    assert_eq!(exp2(0.0), 1.0);
}

#[test]
fn embedding_rows_are_copied_and_scaled() {
    let mut row = [0.0; 2];
    Rows::F32(&[1.0, 2.0, 3.0, 4.0]).copy(1, &mut row);
    assert_eq!(row, [3.0, 4.0]);
    Rows::Int8(&[1, -2, 127, -127], &[0.5, 0.25]).copy(1, &mut row);
    assert_eq!(row, [31.75, -31.75]);
}

#[test]
fn names_are_unique_and_the_pick_is_supported() {
    let variants = variants();
    let names: std::collections::BTreeSet<_> = variants.iter().map(|v| &v.name).collect();
    assert_eq!(names.len(), variants.len());
    assert!(variants.iter().filter(|v| v.picked).all(|v| v.supported));
    assert!(by_name("no such").is_none());
    for kernels in supported() {
        assert_eq!(by_name(kernels.isa().name()).map(Kernels::isa), Some(kernels.isa()));
    }
}

#[test]
#[should_panic(expected = "int8 rows are too short")]
fn short_slices_are_refused() {
    let w = PackedI8::quantize(4, &[1.0; 8], None, &[0.0; 2]);
    best().gemm(Gemm {
        rows: 2,
        input: Input::Int8(
            QuantizedRows { values: &[0; 7], stride: 4, ranges: &[RowRange::default(); 2] },
            w.view(),
        ),
        epilogue: Epilogue::PLAIN,
        output: Output { values: &mut [0.0; 4], stride: 2, keep: true, quantized: None },
        ahead: &[],
    });
}
