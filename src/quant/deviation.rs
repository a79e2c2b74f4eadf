//! Measures how far numbers are from the reference that they approximate.

/// Sums over pairs of a reference and a number that approximates it. [`Deviation::add`] may be called for one
/// part of the numbers after another.
///
/// ```
/// use mobilebert::quant::Deviation;
///
/// let mut deviation = Deviation::default();
/// deviation.add(&[3.0, 4.0], &[3.0, 4.05]);
/// assert_eq!(deviation.sqnr_db().round(), 40.0);
/// assert!((deviation.relative_error() - 0.01).abs() < 1e-6);
/// assert!((deviation.max_abs_error() - 0.05).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Deviation {
    /// Sum of the squares of the reference.
    signal: f64,
    /// Sum of the squares of the differences.
    noise: f64,
    max_abs: f64,
}

impl Deviation {
    /// Adds pairs of numbers at the same index.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&mut self, reference: &[f32], found: &[f32]) {
        assert_eq!(reference.len(), found.len(), "numbers without a partner");
        for (&r, &f) in reference.iter().zip(found) {
            let (r, error) = (f64::from(r), f64::from(f) - f64::from(r));
            self.signal += r * r;
            self.noise += error * error;
            // A NaN stays.
            let keeps = self.max_abs.is_nan() || error.abs() <= self.max_abs;
            self.max_abs = if keeps { self.max_abs } else { error.abs() };
        }
    }

    /// Signal to quantisation noise ratio in decibels: `10 log10(sum of r^2 / sum of (f - r)^2)`. It is
    /// infinite if nothing differs, and one bit more of precision adds 6 dB.
    pub fn sqnr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// Norm of the differences divided by the norm of the reference; 0 if nothing differs.
    pub fn relative_error(&self) -> f64 {
        if self.noise == 0.0 { 0.0 } else { (self.noise / self.signal).sqrt() }
    }

    /// Largest absolute difference.
    pub fn max_abs_error(&self) -> f64 {
        self.max_abs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reference: &[f32], found: &[f32]) -> Deviation {
        let mut deviation = Deviation::default();
        deviation.add(reference, found);
        deviation
    }

    #[test]
    fn parts_add_up() {
        let mut parts = of(&[1.0, -2.0], &[1.5, -2.0]);
        parts.add(&[4.0], &[3.0]);
        assert_eq!(parts, of(&[1.0, -2.0, 4.0], &[1.5, -2.0, 3.0]));
        assert!((parts.relative_error() - (1.25f64 / 21.0).sqrt()).abs() < 1e-12);
        assert_eq!(parts.max_abs_error(), 1.0);
    }

    #[test]
    fn edges_have_an_answer() {
        for equal in [of(&[], &[]), of(&[0.0], &[-0.0]), of(&[7.0], &[7.0])] {
            assert_eq!((equal.sqnr_db(), equal.relative_error()), (f64::INFINITY, 0.0));
        }
        let silent = of(&[0.0], &[1.0]);
        assert_eq!((silent.sqnr_db(), silent.relative_error()), (f64::NEG_INFINITY, f64::INFINITY));
        let broken = of(&[1.0, 1.0], &[f32::NAN, 5.0]);
        assert!(broken.sqnr_db().is_nan() && broken.relative_error().is_nan());
        assert!(broken.max_abs_error().is_nan());
        assert!(of(&[1.0, 1.0], &[5.0, f32::NAN]).max_abs_error().is_nan());
        assert_eq!(of(&[1.0], &[f32::INFINITY]).max_abs_error(), f64::INFINITY);
    }
}
