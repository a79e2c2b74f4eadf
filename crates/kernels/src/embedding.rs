//! Rows of embedding tables.

use super::gemm::FloatRows;
use super::norm::{LayerNorm, normalize_row};
use super::simd::{LANES, Simd};

/// An embedding table.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// Row-major f32.
    F32(&'a [f32]),
    /// Row-major int8 with one scale a row.
    Int8(&'a [i8], &'a [f32]),
}

impl Rows<'_> {
    /// Copies a row; `to` has the table's width.
    ///
    /// # Panics
    /// If the table has no such row.
    #[inline]
    pub fn copy(&self, row: usize, to: &mut [f32]) {
        let place = row * to.len()..(row + 1) * to.len();
        match self {
            Rows::F32(values) => to.copy_from_slice(&values[place]),
            Rows::Int8(values, scales) => {
                let scale = scales[row];
                for (to, &q) in to.iter_mut().zip(&values[place]) {
                    *to = f32::from(q) * scale;
                }
            }
        }
    }
}

/// Adds a position's and a segment's embedding to each row and normalises it.
#[derive(Debug)]
pub struct PositionAndType<'a> {
    /// Embedded words, one row each; replaced by the result.
    pub values: &'a mut [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Columns.
    pub width: usize,
    /// One row per position.
    pub position: &'a [f32],
    /// Position of the first row.
    pub first: usize,
    /// One row per segment.
    pub token_type: &'a [f32],
    /// Segment of each row.
    pub type_ids: &'a [u32],
    /// Applied last.
    pub norm: LayerNorm<'a>,
}

impl PositionAndType<'_> {
    pub(super) fn check(&self) {
        let rows = self.type_ids.len();
        let x = FloatRows { values: self.values, stride: self.stride };
        assert!(x.holds(rows, self.width), "rows are too short");
        assert!(self.position.len() >= (self.first + rows) * self.width, "positions are too short");
        self.norm.check(self.width);
    }
}

/// `norm((x + position) + token_type)`
#[inline(always)]
pub(super) fn position_and_type<S: Simd>(s: S, a: PositionAndType<'_>) {
    let width = a.width;
    let position = FloatRows { values: a.position, stride: width };
    let token_type = FloatRows { values: a.token_type, stride: width };
    for (row, &type_id) in a.type_ids.iter().enumerate() {
        let x = &mut a.values[row * a.stride..][..width];
        let p = position.row(a.first + row, width);
        let t = token_type.row(type_id as usize, width);
        let (whole, rest) = x.as_chunks_mut::<LANES>();
        let ((p, p_rest), (t, t_rest)) = (p.as_chunks::<LANES>(), t.as_chunks::<LANES>());
        for ((x, p), t) in whole.iter_mut().zip(p).zip(t) {
            s.store(s.add(s.add(s.load(x), s.load(p)), s.load(t)), x);
        }
        for ((x, p), t) in rest.iter_mut().zip(p_rest).zip(t_rest) {
            *x = (*x + p) + t;
        }
        normalize_row(s, x, a.norm);
    }
}
