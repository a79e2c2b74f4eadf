//! Does as many multiply-adds as the CPU can, for the peak that profiles compare with.

use std::hint::black_box;

use super::aligned::Line;
use super::gemm::{F32, Int8, PANEL_STRIPS, Products, Registers, Strips, Sums, Tiles};
use super::registry::Kernel;
use super::simd::LANES;

/// Number of accumulators: enough to hide twice the latency of a multiply-add, and few enough for sixteen
/// pairs of registers.
const ACCUMULATORS: usize = 6;

/// Does at least `macs` multiply-adds of a kernel and stores how many in `done`.
#[inline(always)]
pub(super) fn peak<S: Tiles>(s: S, kernel: Kernel, macs: u64, done: &mut u64) {
    *done = match kernel {
        Kernel::GemmInt8 => spin_widest(Int8(s), S::STRIPS_I8, S::FASTEST_INPUTS, macs),
        Kernel::GemmBf16 => tiles(s, macs),
        _ => spin_widest(F32(s), S::STRIPS_I8, 1, macs),
    };
}

/// Does multiply-adds from registers, of `inputs` numbers and sixteen lanes for each accumulator.
#[inline(always)]
fn spin_widest<P: Products>(p: P, strips: usize, inputs: usize, macs: u64) -> u64 {
    let vectors = if strips > 1 { 2 * ACCUMULATORS } else { ACCUMULATORS };
    let each = (inputs * LANES * vectors) as u64;
    let rounds = macs.div_ceil(each);
    match (strips > 1, inputs == 2) {
        (true, true) => spin::<P, { 2 * ACCUMULATORS }, true>(p, rounds),
        (true, false) => spin::<P, { 2 * ACCUMULATORS }, false>(p, rounds),
        (false, true) => spin::<P, ACCUMULATORS, true>(p, rounds),
        (false, false) => spin::<P, ACCUMULATORS, false>(p, rounds),
    }
    rounds * each
}

/// Does `rounds` times `N` multiply-adds. The compiler would compute products that are not joined to an
/// addition (`LOAD`) once for all sums and rounds, so each sum has weights of its own then, which are loaded
/// in each round.
#[inline(always)]
fn spin<P: Products, const N: usize, const LOAD: bool>(p: P, rounds: u64) {
    let (x, lines) = (black_box(0.5f32.to_ne_bytes()), black_box([Line([1u8; 64]); N]));
    // SAFETY: the arrays are as long as the reads.
    let (x, w) = unsafe { (p.row(x.as_ptr()), p.weights(lines[0].0.as_ptr())) };
    let mut sums = [p.zero(); N];
    for _ in 0..rounds {
        if LOAD {
            for (sum, line) in sums.iter_mut().zip(black_box(&lines)) {
                // SAFETY: the read is a line.
                *sum = p.fastest(*sum, x, unsafe { p.weights(line.0.as_ptr()) });
            }
        } else {
            for sum in &mut sums {
                *sum = p.fastest(*sum, x, w);
            }
        }
    }
    let mut lanes = [0; LANES];
    for sum in sums {
        p.store(sum, &mut lanes);
        black_box(&lanes);
    }
}

/// Does whole bf16 tiles, because the instructions and the places of their operands differ too much for one
/// loop.
#[inline(always)]
fn tiles<S: Tiles>(s: S, macs: u64) -> u64 {
    const DEPTH: usize = 64;
    let strips = S::STRIPS_BF16.min(PANEL_STRIPS);
    let weights = [Line([0u8; 64]); PANEL_STRIPS * DEPTH];
    let x = [0u8; 32 * 4 * DEPTH];
    let each = (S::ROWS_BF16 * strips * LANES * 2 * DEPTH) as u64;
    let rounds = macs.div_ceil(each);
    let (mut sums, mut registers) = (Sums::ZERO, Registers::default());
    for _ in 0..rounds {
        let strips =
            Strips { lines: black_box(&weights[..]), apart: DEPTH, step: 1, depth: DEPTH, count: strips };
        s.bf16_tile(S::ROWS_BF16, (&x, 4 * DEPTH), strips, &mut sums, &mut registers);
        black_box(&sums);
    }
    s.end_tiles(registers);
    rounds * each
}
