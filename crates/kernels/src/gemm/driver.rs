//! The loops over groups, panels and tiles.

use super::epilogue::{Finish, Float, InMemory, Int8, Place, TileSums};
use super::tile::{EachRow, Registers, Strips, Sums, Tiles, next_rows};
use super::{GROUP_ROWS, Gemm, I8View, Input, PANEL_STRIPS};
use crate::aligned::Line;
use crate::quantize::QuantizedRows;

/// Fewer rows have too little work to hide a prefetch: it only delays the loads of the current weights (16
/// rows took a seventh longer).
const FEWEST_ROWS_AHEAD: usize = 32;

/// Tiles of up to this many rows prefetch a few lines at once, before their products. The many lines of a
/// taller tile would delay its loads, so they are spread over the rows of its epilogue.
const SHORT_TILE: usize = 8;

/// Weights up to this size stay in the L2 cache while a block of rows is multiplied. For them, small groups
/// that keep their results in the L1 cache are 3 % faster (MobileBERT). For larger weights, groups that read
/// the weights once are a third faster (BERT-base).
const SMALL_WEIGHTS: usize = 512 << 10;

/// Runs a linear whose slices have been checked.
#[inline(always)]
pub(crate) fn gemm<S: Tiles>(s: S, mut gemm: Gemm<'_>) {
    let (total, columns) = (gemm.rows, gemm.columns());
    let input = gemm.input;
    let limit = match input {
        Input::Int8(..) => S::ROWS_I8,
        Input::Bf16(..) => S::ROWS_BF16,
        Input::F32(..) => S::ROWS_F32,
    };
    if total < FEWEST_ROWS_AHEAD {
        gemm.ahead = &[];
    }
    let bias = match input {
        Input::Int8(..) => &[],
        Input::Bf16(_, w) => w.bias,
        Input::F32(_, w) => w.bias,
    };
    let weights = gemm.weights();
    let mut group_limit = 2 * S::GROUP;
    if size_of_val(weights) > SMALL_WEIGHTS {
        // The L2 cache has no room for the next linear's weights, so the next panel of these is prefetched
        // instead.
        let panel = weights.len().div_ceil(columns.div_ceil(16 * PANEL_STRIPS).max(1));
        (group_limit, gemm.ahead) = (GROUP_ROWS, &weights[panel..]);
    }
    let strips = columns.div_ceil(16);
    // Each tile prefetches an equal share. The first group has the most rows, and so the most tiles.
    let groups = total.div_ceil(group_limit).max(1);
    let tiles = strips.div_ceil(PANEL_STRIPS) * groups * total.div_ceil(groups).div_ceil(limit);
    let (mut ahead, share) = (gemm.ahead, gemm.ahead.len().div_ceil(tiles.max(1)));
    let mut finish = Finish::new(s, &mut gemm, columns);
    let (mut sums, mut registers) = (Sums::ZERO, Registers::default());
    let mut group = 0;
    while group < total {
        let group_rows = next_rows(total - group, group_limit);
        finish.begin(group_rows);
        for strip in (0..strips).step_by(PANEL_STRIPS) {
            let panel = PANEL_STRIPS.min(strips - strip);
            let mut row = 0;
            while row < group_rows {
                let rows = next_rows(group_rows - row, limit);
                let place = Place { group, row, rows, strip, strips: panel };
                let (now, later) = ahead.split_at(share.min(ahead.len()));
                ahead = later;
                let with_rows = if limit > SHORT_TILE { now } else { &[] };
                if with_rows.is_empty() {
                    for line in now {
                        s.prefetch(line);
                    }
                }
                let panel = finish.has_panel(place);
                if let Input::Int8(x, w) = input {
                    let scale = Int8(w.columns, x.ranges);
                    if panel {
                        let tile = DotTile { s, x, w, place, to: (&mut sums, &mut registers) };
                        finish.panel(tile, place, scale, with_rows);
                    } else {
                        multiply(s, &input, place, &mut sums, &mut registers);
                        finish.narrow_panel(&sums, place, scale);
                    }
                } else {
                    multiply(s, &input, place, &mut sums, &mut registers);
                    if panel {
                        finish.panel(InMemory(s, &sums.0[..rows]), place, Float(bias), with_rows);
                    } else {
                        finish.narrow_panel(&sums, place, Float(bias));
                    }
                }
                row += rows;
            }
        }
        finish.end(group, group_rows);
        group += group_rows;
    }
    s.end_tiles(registers);
}

/// An int8 tile of whole strips.
struct DotTile<'t, 'a, S> {
    s: S,
    x: QuantizedRows<'a>,
    w: I8View<'a>,
    place: Place,
    to: (&'t mut Sums, &'t mut Registers),
}

impl<S: Tiles> TileSums<S> for DotTile<'_, '_, S> {
    #[inline(always)]
    fn pass_to(self, each: &mut impl EachRow<S::I>) {
        let Self { s, x, w, place, to } = self;
        let rows = (&x.values[(place.group + place.row) * x.stride..], x.stride);
        // The compiler knows the places of all lines from one pointer.
        let (lines, depth) = (&w.lines[place.strip * w.depth()..], w.depth());
        let weights = Strips { lines, apart: 1, step: PANEL_STRIPS, depth, count: PANEL_STRIPS };
        s.each_dot_row(place.rows, rows, weights, to, each);
    }
}

/// The dot products of one tile.
#[inline(always)]
fn multiply<S: Tiles>(s: S, input: &Input<'_>, place: Place, sums: &mut Sums, registers: &mut Registers) {
    let row = place.group + place.row;
    match input {
        Input::Int8(x, w) => {
            let x = (&x.values[row * x.stride..], x.stride);
            s.dot_tile(place.rows, x, strips(w.lines, w.depth(), place), sums, registers);
        }
        Input::Bf16(x, w) => {
            let x = (&x.values[row * x.stride..], x.stride);
            s.bf16_tile(place.rows, x, strips(w.lines, w.depth(), place).bytes(), sums, registers);
        }
        Input::F32(x, w) => {
            let x = (&x.values[row * x.stride..], x.stride);
            s.fma_tile(place.rows, x, strips(w.lines, w.depth(), place), sums);
        }
    }
}

/// The weights of a tile, which are a panel.
#[inline(always)]
fn strips<T>(lines: &[Line<T>], depth: usize, place: Place) -> Strips<'_, T> {
    let lines = &lines[place.strip * depth..];
    Strips { lines, apart: 1, step: place.strips, depth, count: place.strips }
}
