//! As many multiply-adds as the CPU can do: the roof that profiles measure against.

use std::hint::black_box;

use super::simd::Dot;

/// Accumulators: enough to hide the latency of a multiply-add twice over, few enough for sixteen pairs of registers.
const ACCUMULATORS: usize = 6;

/// Multiply-adds of sixteen lanes for each accumulator, from registers, until `macs` are done.
#[inline(always)]
pub(super) fn peak<S: Dot>(s: S, int8: bool, macs: u64, done: &mut u64) {
    let per_vector = if int8 { 64 } else { 16 };
    let vectors = if S::STRIPS_I8 > 1 { 2 * ACCUMULATORS } else { ACCUMULATORS };
    let rounds = macs.div_ceil(per_vector * vectors as u64);
    if S::STRIPS_I8 > 1 {
        spin::<S, { 2 * ACCUMULATORS }>(s, int8, rounds);
    } else {
        spin::<S, ACCUMULATORS>(s, int8, rounds);
    }
    *done = rounds * per_vector * vectors as u64;
}

#[inline(always)]
fn spin<S: Dot, const N: usize>(s: S, int8: bool, rounds: u64) {
    let mut lanes = [0; 16];
    if int8 {
        let (x, w) = (black_box([1u8; 4]), black_box([1i8; 64]));
        // SAFETY: both arrays are as long as what is read.
        let (a, b) = unsafe { (s.broadcast(x.as_ptr()), s.weights(w.as_ptr())) };
        let mut acc = [s.zero_int(); N];
        for _ in 0..rounds {
            for acc in &mut acc {
                *acc = s.fastest_dot(*acc, a, b);
            }
        }
        for acc in acc {
            s.store_int(acc, &mut lanes);
            black_box(&lanes);
        }
    } else {
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut acc = [s.zero(); N];
        for _ in 0..rounds {
            for acc in &mut acc {
                *acc = s.fma(*acc, a, b);
            }
        }
        for acc in acc {
            s.store_int(s.to_bits(acc), &mut lanes);
            black_box(&lanes);
        }
    }
}
