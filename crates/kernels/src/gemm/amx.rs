//! The int8 and bf16 tiles on AMX. Four tile registers hold the sums of 16 rows by 64 columns or of 32 by 32,
//! and an instruction multiplies 64 bytes of each row. Int8 sums are exact, as on all tiers.
//!
//! It is inline assembly, because the intrinsics are unstable. The compiler itself never uses tile registers,
//! so their configuration stays until the series of tiles ends.

use std::arch::asm;

use super::fits;
use super::products::{F32, Int8};
use super::tile::{Registers, Strips, Sums, Tiles, bytes, compiled_tile, power_of_two};
use crate::isa::{Amx, Avx512Vnni, with_features};

/// Fewer rows than this are faster on VNNI: a tile instruction takes a cycle a row, and loading its operands
/// takes as long as eight rows.
const FEWEST_ROWS: usize = 4;

/// Lines of weights that fill a tile register.
const CHUNK: usize = 16;

/// A configuration of the tile registers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Configured {
    /// Registers 0 to 3 hold the sums of up to 16 rows by 64 columns, 4 and 5 the rows and weights of a whole
    /// chunk, and 6 and 7 those of a chunk of `rest` lines.
    Wide { rows: usize, rest: usize },
    /// Registers 0 to 3 hold the sums of 16 rows and of `more` rows by 32 columns, 4 and 5 hold rows, and 6
    /// and 7 weights. This is a third faster, because each load serves two products.
    Tall { more: usize },
}

/// The operand of `ldtilecfg`: `palette_id`, `start_row`, and for each tile register the bytes of a row and
/// the number of rows.
#[repr(C, align(64))]
struct Palette([u8; 64]);

impl Configured {
    fn palette(self) -> Palette {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut set = |tiles: &[usize], rows: usize, columns: usize| {
            for tile in tiles {
                bytes[16 + 2 * tile] = columns as u8;
                bytes[48 + tile] = rows as u8;
            }
        };
        match self {
            Configured::Wide { rows, rest } => {
                set(&[0, 1, 2, 3, 4], rows, 64);
                set(&[5], CHUNK, 64);
                // A tile register without rows is an error, even if it is not used.
                set(&[6], rows, 4 * rest.max(1));
                set(&[7], rest.max(1), 64);
            }
            Configured::Tall { more } => {
                set(&[0, 1, 4], 16, 64);
                set(&[2, 3, 5], more, 64);
                set(&[6, 7], CHUNK, 64);
            }
        }
        Palette(bytes)
    }

    /// Whether the registers can do what `wanted` asks for.
    fn serves(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Configured::Wide { rows, .. }, Configured::Wide { rows: r, rest: 0 }) => rows == r,
            _ => self == wanted,
        }
    }
}

impl Amx {
    #[inline(always)]
    fn configure(self, registers: &mut Registers, wanted: Configured) {
        if !registers.0.is_some_and(|c| c.serves(wanted)) {
            let palette = wanted.palette();
            // SAFETY: `self` proves AMX; the palette is 64 bytes long and valid: number 1, 1 to 16 rows of 4
            // to 64 bytes.
            unsafe { asm!("ldtilecfg [{}]", in(reg) palette.0.as_ptr(), options(nostack, readonly)) }
            registers.0 = Some(wanted);
        }
    }
}

/// The products of 17 to 32 rows with two strips, in whole chunks.
macro_rules! tall {
    ($dot:literal, $x:expr, $stride:expr, $line:expr, $chunks:expr, $b0:expr, $b1:expr, $to:expr) => {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "test {chunks}, {chunks}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{x} + {stride}*1]",
            "tileloadd tmm6, [{b0} + {line}*1]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{b1} + {line}*1]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{more} + {stride}*1]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            concat!($dot, " tmm3, tmm5, tmm7"),
            "add {x}, 64",
            "add {more}, 64",
            "add {b0}, {chunk}",
            "add {b1}, {chunk}",
            "dec {chunks}",
            "jnz 2b",
            "3:",
            "tilestored [{to} + {row}*1], tmm0",
            "tilestored [{to} + {row}*1 + 64], tmm1",
            "tilestored [{to} + {row}*1 + 4096], tmm2",
            "tilestored [{to} + {row}*1 + 4160], tmm3",
            x = inout(reg) $x => _,
            more = inout(reg) $x.wrapping_add(16 * $stride) => _,
            stride = in(reg) $stride,
            chunks = inout(reg) $chunks => _,
            line = in(reg) $line,
            chunk = in(reg) CHUNK * $line,
            row = in(reg) 256usize,
            to = in(reg) $to,
            b0 = inout(reg) $b0 => _,
            b1 = inout(reg) $b1 => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The products of up to 16 rows with some strips. `$b` names the operand that points to a strip's weights,
/// `$acc` is its register of sums and `$place` its offset in the result.
macro_rules! product {
    ($dot:literal, $x:expr, $stride:expr, $line:expr, $chunks:expr, $rest:expr, $to:expr, $($b:ident = $weights:expr, $acc:literal, $place:literal;)*) => {
        asm!(
            $(concat!("tilezero ", $acc),)*
            "test {chunks}, {chunks}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{x} + {stride}*1]",
            $(
                concat!("tileloadd tmm5, [{", stringify!($b), "} + {line}*1]"),
                concat!($dot, " ", $acc, ", tmm4, tmm5"),
                concat!("add {", stringify!($b), "}, {chunk}"),
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
                concat!($dot, " ", $acc, ", tmm6, tmm7"),
            )*
            "4:",
            $(concat!("tilestored [{to} + {row}*1 + ", $place, "], ", $acc),)*
            x = inout(reg) $x => _,
            stride = in(reg) $stride,
            chunks = inout(reg) $chunks => _,
            rest = in(reg) $rest,
            line = in(reg) $line,
            chunk = in(reg) CHUNK * $line,
            row = in(reg) 256usize,
            to = in(reg) $to,
            $($b = inout(reg) $weights => _,)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The products of a tile of at most 32 rows with the given instruction.
macro_rules! products {
    ($dot:literal, $s:expr, $rows:expr, $x:expr, $weights:expr, $sums:expr, $registers:expr) => {{
        let (s, rows, (x, stride), weights): (Amx, usize, (&[u8], usize), Strips<'_, [u8; 64]>) =
            ($s, $rows, $x, $weights);
        weights.check();
        let (chunks, rest) = (weights.depth / CHUNK, weights.depth % CHUNK);
        assert!(rows <= 32 && fits(x.len(), rows, stride, 4 * weights.depth));
        let strip = |v: usize| weights.from(v).as_ptr();
        let line = 64 * weights.step;
        let to = $sums.0.as_mut_ptr().cast::<[i32; 16]>();
        if rows > 16 && rest == 0 && weights.count.is_multiple_of(2) {
            s.configure($registers, Configured::Tall { more: rows - 16 });
            for first in (0..weights.count).step_by(2) {
                // SAFETY: the registers are configured above. The assertions above found `rows` rows of
                // `4 * depth` bytes, and `depth` lines of each strip, `line` bytes apart, which are whole
                // chunks. `sums` has 32 rows of four lines, of which two are written.
                unsafe {
                    let (x, to) = (x.as_ptr(), to.add(first));
                    tall!($dot, x, stride, line, chunks, strip(first), strip(first + 1), to)
                }
            }
            return;
        }
        for row in (0..rows).step_by(16) {
            s.configure($registers, Configured::Wide { rows: (rows - row).min(16), rest });
            let mut first = 0;
            while first < weights.count {
                let some = power_of_two(weights.count - first);
                let x = x[row * stride..].as_ptr();
                // SAFETY: the registers are configured above. The assertions above found `rows` rows of
                // `4 * depth` bytes, and `depth` lines of each strip, `line` bytes apart, which are read
                // chunk by chunk up to the last one. `sums` has 32 rows of 256 bytes. At most 16 of them are written from `row` on,
                // 64 bytes for each of the at most four strips `first..first + some`.
                unsafe {
                    let to = to.add(4 * row + first);
                    match some {
                        4 => product!($dot, x, stride, line, chunks, rest, to,
                            b0 = strip(first), "tmm0", "0";
                            b1 = strip(first + 1), "tmm1", "64";
                            b2 = strip(first + 2), "tmm2", "128";
                            b3 = strip(first + 3), "tmm3", "192";
                        ),
                        2 => product!($dot, x, stride, line, chunks, rest, to,
                            b0 = strip(first), "tmm0", "0";
                            b1 = strip(first + 1), "tmm1", "64";
                        ),
                        _ => product!($dot, x, stride, line, chunks, rest, to, b0 = strip(first), "tmm0", "0";),
                    }
                }
                first += some;
            }
        }
    }};
}

impl Tiles for Amx {
    const ROWS_BF16: usize = 32;
    const STRIPS_BF16: usize = 4;

    #[inline(always)]
    fn end_tiles(self, registers: Registers) {
        if registers.0.is_some() {
            // SAFETY: `self` proves AMX. After the release a context switch is as cheap as without tiles.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }

    #[inline(always)]
    fn dot_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [i8; 64]>,
        sums: &mut Sums,
        registers: &mut Registers,
    ) {
        let weights = weights.bytes();
        if rows < FEWEST_ROWS {
            with_features!(
                Avx512Vnni,
                compiled_tile!(Int8(self.vnni()), Int8<Avx512Vnni>, rows, x, weights, sums)
            );
            return;
        }
        products!("tdpbusd", self, rows, x, weights, sums, registers);
    }

    #[inline(always)]
    fn fma_tile(self, rows: usize, x: (&[f32], usize), weights: Strips<'_, [f32; 16]>, sums: &mut Sums) {
        with_features!(Amx, compiled_tile!(F32(self), F32<Amx>, rows, bytes(x), weights.bytes(), sums));
    }

    /// Tiles are used for any number of rows, so that the sums of a row do not depend on the rows beside it.
    #[inline(always)]
    fn bf16_tile(
        self,
        rows: usize,
        x: (&[u8], usize),
        weights: Strips<'_, [u8; 64]>,
        sums: &mut Sums,
        registers: &mut Registers,
    ) {
        products!("tdpbf16ps", self, rows, x, weights, sums, registers);
    }
}
