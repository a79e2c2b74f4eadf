//! Rows of embedding tables.

use super::gemm::{FloatRows, fits};
use super::norm::{LayerNorm, normalize_row};
use super::simd::{LANES, Simd};

/// An embedding table.
#[derive(Debug, Clone, Copy)]
pub enum EmbeddingTable<'a> {
    /// The rows in f32.
    F32(&'a [f32]),
    /// The rows in int8, and one scale a row.
    Int8(&'a [i8], &'a [f32]),
}

impl EmbeddingTable<'_> {
    /// Copies a row as f32 to `to`, which must have the width of the table.
    ///
    /// # Panics
    /// If the table has no such row.
    #[inline]
    pub fn copy(&self, row: usize, to: &mut [f32]) {
        // The product could overflow where addresses have 32 bits.
        let width = to.len();
        let start = row.checked_mul(width).expect("a row of the table");
        match self {
            EmbeddingTable::F32(values) => to.copy_from_slice(&values[start..][..width]),
            EmbeddingTable::Int8(values, scales) => {
                let scale = scales[row];
                for (to, &q) in to.iter_mut().zip(&values[start..][..width]) {
                    *to = f32::from(q) * scale;
                }
            }
        }
    }
}

/// Adds the embeddings of position and segment to each row and normalises it.
#[derive(Debug)]
pub struct PositionAndType<'a> {
    /// The embedded words, one row each. The result replaces them.
    pub values: &'a mut [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Columns.
    pub width: usize,
    /// One row per position.
    pub position: &'a [f32],
    /// Position of the first row.
    pub first: usize,
    /// One row per segment; `None` in models without segment embeddings.
    pub token_type: Option<&'a [f32]>,
    /// Segment of each row. Its length is the number of rows, even if there is no `token_type`.
    pub type_ids: &'a [u32],
    /// The norm of the sum.
    pub norm: LayerNorm<'a>,
}

impl PositionAndType<'_> {
    pub(super) fn check(&self) {
        let rows = self.type_ids.len();
        let x = FloatRows { values: self.values, stride: self.stride };
        assert!(x.holds(rows, self.width), "rows are too short");
        let positions = self.first.checked_add(rows);
        let positions_fit =
            positions.is_some_and(|count| fits(self.position.len(), count, self.width, self.width));
        assert!(positions_fit, "positions are too short");
        self.norm.check(self.width);
    }
}

/// `norm((x + position) + token_type)`, or `norm(x + position)`
#[inline(always)]
pub(super) fn position_and_type<S: Simd>(s: S, a: PositionAndType<'_>) {
    let width = a.width;
    let position = FloatRows { values: a.position, stride: width };
    let token_type = a.token_type.map(|values| FloatRows { values, stride: width });
    for (row, &type_id) in a.type_ids.iter().enumerate() {
        let x = &mut a.values[row * a.stride..][..width];
        let p = position.row(a.first + row, width);
        add(s, x, p);
        if let Some(token_type) = token_type {
            add(s, x, token_type.row(type_id as usize, width));
        }
        normalize_row(s, x, a.norm);
    }
}

#[inline(always)]
fn add<S: Simd>(s: S, x: &mut [f32], term: &[f32]) {
    let ((whole, rest), (terms, terms_rest)) = (x.as_chunks_mut::<LANES>(), term.as_chunks::<LANES>());
    for (x, term) in whole.iter_mut().zip(terms) {
        s.store(s.add(s.load(x), s.load(term)), x);
    }
    for (x, term) in rest.iter_mut().zip(terms_rest) {
        *x += term;
    }
}
