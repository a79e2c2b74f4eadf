//! The int8 tile on AMX: 16 rows by 64 columns of i32 in four tile registers, 64 inputs an instruction. Exact like all others.
//!
//! Inline assembly, because the intrinsics are unstable. The compiler itself never uses tile registers, so what is configured
//! stays until the end of the series of tiles.

use std::arch::asm;

use super::Line;
use super::tile::{Strips, Tile, Tiles, dot_tile, fma_tile, power_of_two};
use crate::kernels::isa::{Amx, Avx512Vnni};

/// Fewer rows than this are faster on VNNI: a tile instruction takes a cycle a row, and as long as eight of them to load.
const FEWEST_ROWS: usize = 4;

/// Lines of weights, each four inputs deep, that fill a tile register.
const CHUNK: usize = 16;

/// `palette_id`, `start_row`, then columns in bytes and rows of each tile register.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

impl Configuration {
    /// Accumulators in 0 to 3; rows and weights of a whole chunk in 4 and 5, of a chunk of `rest` lines in 6 and 7.
    fn new(rows: usize, rest: usize) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut set = |tile: usize, rows: usize, columns: usize| {
            bytes[16 + 2 * tile] = columns as u8;
            bytes[48 + tile] = rows as u8;
        };
        (0..5).for_each(|tile| set(tile, rows, 64));
        set(5, CHUNK, 64);
        // A tile register without rows is an error, even if it is not used.
        set(6, rows, 4 * rest.max(1));
        set(7, rest.max(1), 64);
        Self(bytes)
    }
}

/// The body for a number of strips: `$b` are the strips' weights, `$c` their accumulators and their places in the result.
macro_rules! product {
    ($x:expr, $stride:expr, $chunks:expr, $rest:expr, $to:expr, $($b:ident = $weights:expr, $acc:literal, $place:literal;)*) => {
        asm!(
            $(concat!("tilezero ", $acc),)*
            "test {chunks}, {chunks}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{x} + {stride}*1]",
            $(
                concat!("tileloadd tmm5, [{", stringify!($b), "} + {line}*1]"),
                concat!("tdpbusd ", $acc, ", tmm4, tmm5"),
                concat!("add {", stringify!($b), "}, 1024"),
            )*
            "add {x}, 64",
            "dec {chunks}",
            "jnz 2b",
            "3:",
            "test {rest}, {rest}",
            "jz 4f",
            "tileloadd tmm6, [{x} + {stride}*1]",
            $(
                concat!("tileloadd tmm7, [{", stringify!($b), "} + {line}*1]"),
                concat!("tdpbusd ", $acc, ", tmm6, tmm7"),
            )*
            "4:",
            $(concat!("tilestored [{to} + {row}*1 + ", $place, "], ", $acc),)*
            x = inout(reg) $x => _,
            stride = in(reg) $stride,
            chunks = inout(reg) $chunks => _,
            rest = in(reg) $rest,
            line = in(reg) 64usize,
            row = in(reg) 256usize,
            to = in(reg) $to,
            $($b = inout(reg) $weights => _,)*
            options(nostack),
        )
    };
}

impl Tiles for Amx {
    #[inline(always)]
    fn end_tiles(self, tile: &Tile) {
        if tile.1.is_some() {
            // SAFETY: `self` proves AMX. Releasing makes the next context switch as cheap as without tiles.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    #[inline(always)]
    fn dot_tile(
        self,
        rows: usize,
        (x, stride): (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        tile: &mut Tile,
    ) {
        if rows < FEWEST_ROWS {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
            #[inline(never)]
            fn run(
                s: Avx512Vnni,
                rows: usize,
                x: (&[u8], usize),
                weights: Strips<'_, [i8; 64]>,
                tile: &mut Tile,
            ) {
                dot_tile(s, rows, x, weights, tile);
            }
            // SAFETY: `self` proves the features.
            unsafe { run(self.vnni(), rows, (x, stride), weights, tile) };
            return;
        }
        weights.check();
        let (chunks, rest) = (weights.depth / CHUNK, weights.depth % CHUNK);
        assert!(rows <= 16 && x.len() >= (rows - 1) * stride + 4 * weights.depth);
        if !tile.1.is_some_and(|(r, tail)| r == rows && (rest == 0 || rest == tail)) {
            let configuration = Configuration::new(rows, rest);
            // SAFETY: `self` proves AMX; the configuration is 64 bytes long and valid: palette 1, 1 to 16 rows of 4 to 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) configuration.0.as_ptr(), options(nostack, readonly)) }
            tile.1 = Some((rows, rest));
        }
        let mut first = 0;
        while first < weights.count {
            let some = power_of_two(weights.count - first);
            let (x, to) = (x.as_ptr(), tile.0.as_mut_ptr().cast::<[i32; 16]>());
            let strip = |v: usize| weights.lines[(first + v) * weights.stride..].as_ptr();
            // SAFETY: `self` proves AMX and the tiles are configured. `rows` rows of `4 * depth` bytes and `depth` lines of each
            // strip were found above, and are read chunk by chunk up to their end. A tile has 16 rows of 256 bytes, of which
            // `rows` are written, 64 bytes for each of the strips `first..first + some`, at most four.
            unsafe {
                let to = to.add(first);
                match some {
                    4 => product!(x, stride, chunks, rest, to,
                        b0 = strip(0), "tmm0", "0";
                        b1 = strip(1), "tmm1", "64";
                        b2 = strip(2), "tmm2", "128";
                        b3 = strip(3), "tmm3", "192";
                    ),
                    2 => product!(x, stride, chunks, rest, to,
                        b0 = strip(0), "tmm0", "0";
                        b1 = strip(1), "tmm1", "64";
                    ),
                    _ => product!(x, stride, chunks, rest, to, b0 = strip(0), "tmm0", "0";),
                }
            }
            first += some;
        }
    }

    #[inline(always)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, tile: &mut Tile) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        #[inline(never)]
        fn run(s: Amx, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, tile: &mut Tile) {
            fma_tile(s, rows, x, weights, tile);
        }
        // SAFETY: `self` proves the features.
        unsafe { run(self, rows, x, weights, tile) }
    }
}

const _: () = assert!(size_of::<Line<[i8; 64]>>() == 64);
