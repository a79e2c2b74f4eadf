//! int8 dot products on AMX tiles: 16 rows of 64 activations times 64 weights of 16 columns in one instruction.
//!
//! The packed weights of the VNNI kernels are what a tile of weights looks like, so nothing is packed anew. Rust has no
//! stable intrinsics for tiles, so each product is a block of assembly. The compiler does not use tiles, so their shapes,
//! set once for many products, stay as they are between the blocks.

use std::arch::asm;
use std::cell::Cell;

use super::PANEL_STRIPS;
use super::tile::{Strips, Tile, power_of_two};
use crate::kernels::isa::Amx;

/// Rows of a tile, and lines of weights that a tile holds.
const ROWS: usize = 16;

/// Operand of `ldtilecfg`: shapes of the eight tiles (Intel SDM, volume 1, section 18.2).
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_row: [u16; 16],
    rows: [u8; 16],
}

/// Tiles 0 to 3 accumulate four strips. Activations and weights go through tiles 4 and 6, and for the last inputs, fewer
/// than 64, through 5 and 7.
impl Configuration {
    #[inline(always)]
    fn new(rows: usize, last_lines: usize) -> Self {
        let (m, tail) = (rows.max(1) as u8, last_lines.max(1));
        let mut c =
            Self { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row: [0; 16], rows: [0; 16] };
        c.bytes_of_row[..8].copy_from_slice(&[64, 64, 64, 64, 64, 4 * tail as u16, 64, 64]);
        c.rows[..8].copy_from_slice(&[m, m, m, m, m, m, ROWS as u8, tail as u8]);
        c
    }
}

/// One block of assembly for some strips. For each: its accumulator, the operand that points to its weights and the same
/// in the text, and the number of strips in front of it.
macro_rules! product {
    ($x:ident, $w:ident, $to:ident, $(($tile:literal, $name:ident, $address:literal, $before:literal)),*) => {
        asm!(
            $(concat!("tilezero tmm", $tile),)*
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{x} + {x_stride}]",
            $(
                concat!("tileloadd tmm6, [", $address, " + {line}]"),
                concat!("tdpbusd tmm", $tile, ", tmm4, tmm6"),
                concat!("add ", $address, ", 1024"),
            )*
            "add {x}, 64",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "test {tail}, {tail}",
            "jz 4f",
            "tileloadd tmm5, [{x} + {x_stride}]",
            $(
                concat!("tileloadd tmm7, [", $address, " + {line}]"),
                concat!("tdpbusd tmm", $tile, ", tmm5, tmm7"),
            )*
            "4:",
            $(concat!("tilestored [{to} + {to_stride} + 64 * ", $before, "], tmm", $tile),)*
            x = inout(reg) $x.0 => _,
            x_stride = in(reg) $x.1,
            $($name = inout(reg) $w.0.wrapping_add($before * $w.1) => _,)*
            line = in(reg) 64usize,
            steps = inout(reg) $w.2 / ROWS => _,
            tail = in(reg) $w.2 % ROWS,
            to = in(reg) $to,
            to_stride = in(reg) 64 * PANEL_STRIPS,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

thread_local! {
    /// Rows and last lines that this thread's tiles are shaped for, within a kernel.
    static SHAPE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Forgets the tiles' shape: whatever ran on this thread since the last kernel may have changed it.
#[inline(always)]
pub(super) fn begin() {
    SHAPE.set((0, 0));
}

/// Shapes the tiles for products of `rows` rows, 1 to 16, over `depth` lines.
#[inline(always)]
fn configure(_: Amx, rows: usize, depth: usize) {
    let configuration = Configuration::new(rows, depth % ROWS);
    // SAFETY: the token proves that tiles may be used; the operand is a valid configuration of palette 1: at least one and at
    // most 16 rows, at most 64 bytes each.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack)) };
    SHAPE.set((rows, depth % ROWS));
}

/// Gives the tiles back, which makes the thread's state small again for the operating system.
#[inline(always)]
pub(super) fn release(_: Amx) {
    // SAFETY: the token proves that tiles may be used.
    unsafe { asm!("tilerelease", options(nomem, nostack)) };
}

/// As the tile of the other instruction sets, with up to sixteen rows. Reshapes the tiles if they were not configured for
/// this shape.
///
/// # Panics
/// If `x` or the weights are too short.
#[inline(always)]
pub(super) fn dot_tile(
    token: Amx,
    rows: usize,
    (x, stride): (&[u8], usize),
    weights: Strips<'_, [i8; 64]>,
    tile: &mut Tile,
) {
    weights.check();
    let depth = weights.depth;
    assert!(rows <= ROWS);
    assert!(rows == 0 || x.len() >= (rows - 1) * stride + 4 * depth);
    if rows == 0 {
        return;
    }
    if SHAPE.get() != (rows, depth % ROWS) {
        configure(token, rows, depth);
    }
    let mut first = 0;
    while first < weights.count {
        let some = power_of_two(weights.count - first);
        let x = (x.as_ptr(), stride);
        let lines = weights.lines[first * weights.stride..].as_ptr();
        let w = (lines.cast::<u8>(), 64 * weights.stride, depth);
        let to = tile.0.as_mut_ptr().cast::<u8>().wrapping_add(64 * first);
        // SAFETY: the token proves that tiles may be used, and they have the shape of these rows and lines. A tile of activations reads `rows` rows of 64 bytes, or of
        // `4 * (depth % 16)` at the end, which `x` was found to hold. A tile of weights reads 16 lines, or `depth % 16` at
        // the end, of a strip below `count`; so do the addresses of `some` strips. `rows` rows of `some` accumulators
        // are written from strip `first` of `tile` on, whose rows are `PANEL_STRIPS` strips of 64 bytes apart.
        unsafe {
            match some {
                4 => product!(
                    x,
                    w,
                    to,
                    ("0", w0, "{w0}", 0),
                    ("1", w1, "{w1}", 1),
                    ("2", w2, "{w2}", 2),
                    ("3", w3, "{w3}", 3)
                ),
                2 => product!(x, w, to, ("0", w0, "{w0}", 0), ("1", w1, "{w1}", 1)),
                _ => product!(x, w, to, ("0", w0, "{w0}", 0)),
            }
        }
        first += some;
    }
}
