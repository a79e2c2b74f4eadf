//! Compares every variant that this CPU can run with the scalar definitions.

mod activation;
mod attention;
mod bf16;
mod linear;
mod rows;

use super::*;
use crate::Activation;

const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluNew,
    Activation::Silu,
    Activation::Tanh,
];

/// Pseudo-random numbers in -1..1 from a seed.
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

/// Asserts that the numbers have the same bits. All NaNs count as equal.
fn assert_same(kernels: &dyn Kernels, what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{}: {what}: length", kernels.isa());
    let differ = |(i, (e, f)): (usize, (&f32, &f32))| {
        (e.to_bits() != f.to_bits() && !(e.is_nan() && f.is_nan())).then(|| format!("[{i}] {e:?} != {f:?}"))
    };
    let failures: Vec<String> = expected.iter().zip(found).enumerate().filter_map(differ).collect();
    let some: Vec<_> = failures.iter().take(3).collect();
    assert!(failures.is_empty(), "{}: {what}: {} differ: {some:?}", kernels.isa(), failures.len());
}

/// Numbers that are likely to be computed wrongly: zeros of both signs, the limits of f32, denormals,
/// infinities and NaN.
const SPECIAL: [f32; 14] = [
    0.0,
    -0.0,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-40,
    -1e-45,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    1e30,
    -1e-30,
    3.0,
    -3.0,
];

/// Puts special numbers between ordinary ones, and fills some rows with one special number each.
fn with_specials(x: &mut [f32], width: usize) {
    for (row, x) in x.chunks_mut(width.max(1)).enumerate() {
        let one = SPECIAL[row / 2 % SPECIAL.len()];
        match row % 4 {
            0 => x.fill(one),
            2 => x.iter_mut().step_by(5).zip(SPECIAL.iter().cycle().skip(row)).for_each(|(x, s)| *x = *s),
            _ => {}
        }
    }
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

/// The other tests compare the tiers that this processor has. A machine that is meant to have more says so in
/// `MOBILEBERT_EXPECT_TIERS`, such as `scalar,avx2,avx512vnni,amx`.
#[test]
fn tiers_that_no_test_reaches_are_named() {
    let names: Vec<&str> = supported().map(|kernels| kernels.isa().name()).collect();
    for isa in Isa::ALL.iter().filter(|isa| !names.contains(&isa.name())) {
        eprintln!("SKIPPED: this processor or build does not have the kernels {}", isa.name());
    }
    let expected = std::env::var("MOBILEBERT_EXPECT_TIERS").unwrap_or_default();
    for tier in expected.split(',').filter(|tier| !tier.is_empty()) {
        assert!(names.contains(&tier), "{tier} is expected; this processor has {}", names.join(", "));
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
