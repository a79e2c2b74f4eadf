//! Tests attention and the packing of keys and values.

use super::*;

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
            let x = FloatRows { values: v.values.get(16 * d..).unwrap_or_default(), stride: size };
            let to = d * slots / 4;
            kernels.pack_values((tokens, columns), x, &head.value_scales, &mut head.values[to..]);
            pack_values_f32((tokens, columns), x, &mut head.values_f32[d * slots..]);
        }
        head
    }
}

/// The most that attention in int8 may differ from f32: the values lie within 1, and the weights and values
/// have 8 bits each, which are errors of 1/254 of the largest one. This is four of them in each factor.
const INT8_ERROR: f32 = 0.03;

fn check_attention(rows: usize, tokens: usize, size: usize, factor: f32) {
    let mut n = Numbers(rows as u64 * 31 + tokens as u64);
    let (q, k, v) = (n.take(rows * size), n.take(tokens * size), n.take(tokens * size));
    let q: Vec<f32> = q.iter().map(|x| x * factor).collect();
    let (int8, float) = check_attention_of((rows, tokens, size), &q, &k, &v);
    let error = int8.iter().zip(&float).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < INT8_ERROR, "int8 attention is off by {error}");
}

/// Compares every variant with the definition. Returns the definition's results in int8 and f32.
fn check_attention_of(
    (rows, tokens, size): (usize, usize, usize),
    q: &[f32],
    k: &[f32],
    v: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let scale = 1.0 / (size as f32).sqrt();
    let quantised = |x: &[f32]| -> Vec<(Vec<i8>, f32)> {
        let one = |x: &[f32]| {
            let mut q = vec![0; size];
            let scale = reference::quantize::quantize_symmetric(x, &mut q);
            (q, scale)
        };
        x.chunks(size).map(one).collect()
    };
    let (kq, vq) = (quantised(k), quantised(v));
    let split = |x: &[f32]| x.chunks(size).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (kf, vf) = (split(k), split(v));
    let (mut int8, mut float) = (vec![], vec![]);
    for q in q.chunks(size) {
        let mut bytes = vec![0; size];
        let range = reference::quantize::quantize_row(q, Levels::Full, &mut bytes);
        int8.extend(reference::attention::attention_i8((&bytes, range), &kq, &vq, scale));
        float.extend(reference::attention::attention_f32(q, &kf, &vf, scale));
    }
    for kernels in supported() {
        let head = Head::pack(kernels, tokens, size, k, v);
        let rows_f32 = FloatRows { values: q, stride: size };
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
    (int8, float)
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
    // More than 256 tokens have groups of 16 rows; these are three.
    check_attention(40, 300, 32, 1.0);
}

#[test]
fn attention_to_special_numbers() {
    for (rows, tokens, size) in [(30, 40, 32), (3, 17, 20), (13, 1, 16), (7, 66, 64)] {
        let mut n = Numbers(11);
        let mut ordinary = || (n.take(rows * size), n.take(tokens * size), n.take(tokens * size));
        for which in 0..8 {
            let (mut q, mut k, mut v) = ordinary();
            for (i, x) in [&mut q, &mut k, &mut v].into_iter().enumerate() {
                if which & (1 << i) != 0 {
                    with_specials(x, size);
                }
            }
            check_attention_of((rows, tokens, size), &q, &k, &v);
        }
        for value in [0.0, -0.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::NAN, f32::INFINITY] {
            let (q, _, v) = ordinary();
            let all = vec![value; tokens * size];
            check_attention_of((rows, tokens, size), &q, &all, &v);
            check_attention_of((rows, tokens, size), &q, &v, &all);
        }
    }
}

/// A sequence without tokens has no queries either, so the output is not written.
#[test]
fn attention_to_nothing_writes_nothing() {
    for kernels in supported() {
        let kv = KeysValuesF32 { keys: &[], values: &[] };
        let mut output = [7.0; 16];
        kernels.attention(Attention {
            rows: 1,
            tokens: 0,
            head_size: 16,
            scale: 1.0,
            input: AttentionInput::F32(FloatRows { values: &[1.0; 16], stride: 16 }, kv),
            scores: &mut [],
            weights: &mut [],
            output: &mut output,
            stride: 16,
        });
        assert_eq!(output, [7.0; 16], "{}", kernels.isa());
    }
}

#[test]
fn keys_and_values_are_packed_as_they_are_defined() {
    for size in [1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 96] {
        for tokens in [0, 1, 3, 4, 5, 15, 16, 17, 33] {
            for special in [false, true] {
                let mut x = Numbers((size * 100 + tokens) as u64).take(tokens * size);
                if special {
                    with_specials(&mut x, size);
                }
                check_packing(tokens, size, &x);
            }
        }
    }
}

fn check_packing(tokens: usize, size: usize, x: &[f32]) {
    let slots = slots(tokens);
    for kernels in supported() {
        let head = Head::pack(kernels, tokens, size, x, x);
        let what = format!("{}: {tokens} tokens of {size}", kernels.isa());
        for (token, x) in x.chunks(size).enumerate() {
            let mut q = vec![0; size];
            let scale = reference::quantize::quantize_symmetric(x, &mut q);
            let sum: i32 = q.iter().map(|&q| i32::from(q)).sum();
            let (strip, lane) = (token / 16, token % 16);
            let scales = head.key_scales[strip];
            let found = [scales.scale[lane], scales.offset_scale[lane], head.value_scales[strip].0[lane]];
            assert_same(kernels, "scales", &[scale, scale * sum as f32, scale], &found);
            for (d, &q) in q.iter().enumerate() {
                let key = head.keys[strip * size.div_ceil(4) + d / 4].0[4 * lane + d % 4];
                let value = head.values[d / 16 * slots / 4 + token / 4].0[4 * (d % 16) + token % 4];
                assert_eq!((q, q), (key, value), "{what}, token {token}, dimension {d}");
            }
        }
        // The attention multiplies the weights beyond the last token by these.
        for token in tokens..tokens.next_multiple_of(4) {
            let line = &head.values[token / 4].0;
            assert!((0..16.min(size)).all(|d| line[4 * d + token % 4] == 0), "{what}: token {token}");
        }
    }
}
