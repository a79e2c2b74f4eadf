//! The loops around the tiles.

use super::epilogue::{Finish, Float, Int8, Place};
use super::tile::{Strips, Tile, Tiles, next_rows};
use super::{Gemm, Input, PANEL_STRIPS};

/// Runs a linear whose slices have been checked.
#[inline(always)]
pub(in crate::kernels) fn gemm<S: Tiles>(s: S, mut gemm: Gemm<'_>) {
    let (total, columns) = (gemm.rows, gemm.columns());
    let (input, limit) =
        (gemm.input, if matches!(gemm.input, Input::Int8(..)) { S::ROWS_I8 } else { S::ROWS_F32 });
    let strips = columns.div_ceil(16);
    let mut finish = Finish::new(s, &mut gemm, columns);
    let mut tile = Tile::new();
    s.begin();
    let mut group = 0;
    while group < total {
        let group_rows = next_rows(total - group, S::GROUP_ROWS);
        finish.begin();
        for strip in (0..strips).step_by(PANEL_STRIPS) {
            let panel = PANEL_STRIPS.min(strips - strip);
            let mut row = 0;
            while row < group_rows {
                let rows = next_rows(group_rows - row, limit);
                let place = Place { group, row, rows, strip, strips: panel };
                match &input {
                    Input::Int8(x, w) => {
                        let depth = w.depth();
                        let values = &x.values[(group + row) * x.stride..];
                        let lines = &w.lines[strip * depth..];
                        let strips = Strips { lines, stride: depth, depth, count: panel };
                        s.dot_tile(rows, (values, x.stride), strips, &mut tile);
                        finish.tile(&tile, place, Int8(w.columns, x.ranges));
                    }
                    Input::F32(x, w) => {
                        let depth = w.inputs();
                        let values = &x.values[(group + row) * x.stride..];
                        let lines = &w.lines[strip * depth..];
                        let strips = Strips { lines, stride: depth, depth, count: panel };
                        s.fma_tile(rows, (values, x.stride), strips, &mut tile);
                        finish.tile(&tile, place, Float(w.bias));
                    }
                }
                row += rows;
            }
        }
        finish.end(group, group_rows);
        group += group_rows;
    }
    s.end();
}
