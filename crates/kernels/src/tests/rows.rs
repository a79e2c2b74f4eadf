//! Tests the kernels that work row by row: quantisation, norms and embeddings.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
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

/// Numbers halfway between two levels and next to it, where one rounding more changes the level.
#[test]
fn quantise_between_levels() {
    let widths = [255.0, 1.0, 0.1, 3e-5, 1e9, 1e-29];
    let offsets = [0.0, -1.0 / 3.0, 0.75, -7.0, 1000.3, -1e5];
    for (width, offset) in widths.into_iter().flat_map(|w| offsets.map(|o| (w, o))) {
        let low: f32 = offset * width;
        let mut x = vec![low, low + width];
        for level in 0..255 {
            let middle = (f64::from(low) + (f64::from(level) + 0.5) * f64::from(width) / 255.0) as f32;
            x.extend([middle.next_down(), middle, middle.next_up()]);
        }
        check_quantize(&x, Levels::Full);
        check_quantize(&x, Levels::Unsigned);
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

#[test]
fn quantise_and_normalise_the_ladder_of_sizes() {
    for n in [0, 1, 3, 4, 5, 15, 16, 17, 63, 64, 65, 129, 513] {
        let x = Numbers(n as u64).take(n);
        check_quantize(&x, Levels::Full);
        check_quantize(&x, Levels::Unsigned);
        check_norm(&x);
    }
}

#[test]
fn embeddings_are_added_and_normalised() {
    for (width, special) in [1, 15, 16, 17, 40, 128, 129].into_iter().flat_map(|w| [(w, false), (w, true)]) {
        let mut n = Numbers(5);
        let (mut x, position, token_type) = (n.take(3 * width), n.take(9 * width), n.take(2 * width));
        if special {
            with_specials(&mut x, width);
        }
        let (gamma, beta) = (n.take(width), n.take(width));
        let type_ids = [0, 1, 1];
        let types = [Some(&token_type[..]), None];
        for (kernels, token_type) in supported().flat_map(|k| types.map(|types| (k, types))) {
            let mut expected = x.clone();
            for (row, x) in expected.chunks_mut(width).enumerate() {
                let p = &position[(row + 4) * width..];
                let t = token_type.map(|types| &types[type_ids[row] as usize * width..]);
                for (i, x) in x.iter_mut().enumerate() {
                    *x += p[i];
                    *x += t.map_or(-0.0, |t| t[i]);
                }
                reference::norm::layer_norm(x, &gamma, &beta, 1e-12);
            }
            let mut found = x.clone();
            kernels.position_and_type(PositionAndType {
                values: &mut found,
                stride: width,
                width,
                position: &position,
                first: 4,
                token_type,
                type_ids: &type_ids,
                norm: LayerNorm { gamma: &padded(&gamma, 0.0), beta: &padded(&beta, 0.0), eps: Some(1e-12) },
            });
            assert_same(kernels, "position and type", &expected, &found);
        }
    }
}

#[test]
fn embedding_rows_are_copied_and_scaled() {
    let mut row = [0.0; 2];
    EmbeddingTable::F32(&[1.0, 2.0, 3.0, 4.0]).copy(1, &mut row);
    assert_eq!(row, [3.0, 4.0]);
    EmbeddingTable::Int8(&[1, -2, 127, -127], &[0.5, 0.25]).copy(1, &mut row);
    assert_eq!(row, [31.75, -31.75]);
}
