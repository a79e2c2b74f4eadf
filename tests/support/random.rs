//! Numbers for tests that try many cases. The same seed gives the same numbers everywhere.

/// A generator of numbers (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Returns a multiple of a quarter of `scale`, at most twice the scale, so that equal logits are frequent.
    pub(crate) fn logit(&mut self, scale: f32) -> f32 {
        (self.below(17) as f32 - 8.0) / 4.0 * scale
    }
}
