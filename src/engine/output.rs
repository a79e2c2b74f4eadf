//! LOGITS: the rows of numbers that a forward pass returns.

use std::ops::Range;

/// Rows of numbers: one per token, per sequence or per requested token, depending on the head
/// ([`Engine::row_unit`](crate::Engine::row_unit)).
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
}

impl Output {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// All numbers, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Finds the first row of this range that has a NaN or an infinity. Returns the row's index in the output
    /// and the number. The part of the range beyond the last row is ignored. Only
    /// [`Engine::forward_any`](crate::Engine::forward_any) and
    /// [`Engine::forward_rows_any`](crate::Engine::forward_rows_any) return such rows.
    pub fn not_finite(&self, rows: Range<usize>) -> Option<(usize, f32)> {
        let end = rows.end.min(self.rows());
        let first = rows.start.min(end) * self.width;
        let found = self.values[first..end * self.width].iter().position(|v| !v.is_finite())?;
        Some(((first + found) / self.width, self.values[first + found]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_finite_is_found_only_in_its_range() {
        let values = vec![0.0, 1.0, 2.0, f32::INFINITY, 4.0, 5.0, f32::NAN, 7.0];
        let output = Output { values, width: 2 };
        assert_eq!(output.not_finite(0..4), Some((1, f32::INFINITY)));
        assert_eq!(output.not_finite(0..1), None);
        assert_eq!(output.not_finite(1..2), Some((1, f32::INFINITY)));
        assert_eq!(output.not_finite(2..3), None);
        assert!(output.not_finite(2..9).is_some_and(|(row, value)| row == 3 && value.is_nan()));
        assert_eq!(output.not_finite(7..9), None);
        assert_eq!(output.not_finite(Range { start: 4, end: 1 }), None);
    }
}
