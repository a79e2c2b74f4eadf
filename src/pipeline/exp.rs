//! The exponential function behind every score, and the logarithm, computed the same way on every machine.
//!
//! The system's functions differ in their last bit between C libraries, and so would scores. These use
//! additions, multiplications, divisions and comparisons of f64 only, which IEEE 754 defines to the bit, and
//! no fused multiply-add, which a target may lack.

/// The two parts of ln 2: its upper 32 bits, whose product with a whole number below 2^21 is exact, and the
/// rest.
const LN_2: (f64, f64) = (f64::from_bits(0x3FE6_2E42_FEE0_0000), f64::from_bits(0x3DEA_39EF_3579_3C76));

/// The number 1.5 * 2^52. Adding it and taking it away again rounds to the nearest whole number, which is
/// left in the sum's lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The factors `1 / n!` for n = 0 to 12.
const FACTORS: [f64; 13] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
];

/// The limits below which `exp` returns 0 and above which it returns infinity. (The smallest positive f32 is
/// `exp(-103.3)`.)
const LIMITS: (f64, f64) = (-708.0, 709.79);

/// Computes `e^x` with the same bits on every machine.
///
/// The argument is `x = k ln 2 + r` with a whole `k` and `|r| <= ln 2 / 2` (W. J. Cody and W. Waite,
/// *Software Manual for the Elementary Functions*, 1980), and `e^r` is its Taylor polynomial of degree 12,
/// which leaves out less than 2e-16 of the value. At four million places in -708..709 it was at most 4.5e-16
/// of the value away from glibc's `exp`, and rounded to f32 both were the same number at all of them.
///
/// A NaN gives NaN. Results below `e^-708` are 0.
pub(super) fn exp(x: f64) -> f64 {
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2.0) - k * LN_2.1;
    let polynomial = FACTORS.iter().rev().fold(0.0, |sum, factor| sum * r + factor);
    // The factor 2^(k - 1) has a valid exponent for every k within the limits, even where 2^k overflows.
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1022) << 52);
    let value = polynomial * power * 2.0;
    if x < LIMITS.0 {
        0.0
    } else if x > LIMITS.1 {
        f64::INFINITY
    } else {
        value
    }
}

/// Computes `1 / (1 + e^-x)`, which lies in 0..=1. A NaN gives NaN.
pub(super) fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + exp(-f64::from(x)))) as f32
}

/// Computes the natural logarithm of a positive normal number with the same bits on every machine.
///
/// The argument is `2^k m` with `m` from 1 to 2, and `ln m = 2 (s + s^3 / 3 + s^5 / 5 + ...)` with
/// `s = (m - 1) / (m + 1)`, which is at most 1/3. Sixteen terms leave out less than 1e-16.
pub(super) fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    let k = (x.to_bits() >> 52) as i32 - 1023;
    let m = f64::from_bits(x.to_bits() & FRACTION | 1.0_f64.to_bits());
    let s = (m - 1.0) / (m + 1.0);
    let series = (0..16).rev().fold(0.0, |sum, n| sum * s * s + 1.0 / f64::from(2 * n + 1));
    2.0 * s * series + f64::from(k) * LN_2.0 + f64::from(k) * LN_2.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_is_the_logarithm() {
        for x in places(0.001, 100_000.0, 100_000).chain(places(0.4, 2.5, 100_000)) {
            let (found, expected) = (ln(x), x.ln());
            assert!((found - expected).abs() <= 1e-15 * expected.abs().max(1.0), "ln({x}) is {found}");
        }
        assert_eq!((ln(1.0), ln(2.0)), (0.0, std::f64::consts::LN_2));
        // Every machine has to compute the bits that x86-64 computed.
        const RECORDED: [(f64, u64); 5] = [
            (1.5, 0x3FD9F323_ECBF984C),
            (3.0, 0x3FF193EA_7AAD030B),
            (0.7, 0xBFD6D3C3_24E13F4F),
            (1e5, 0x4027069E_2AA2AA5B),
            (29.0 / 3.5, 0x4000EA90_34735F6F),
        ];
        for (x, expected) in RECORDED {
            assert_eq!(ln(x).to_bits(), expected, "ln({x}) is {:#018x}", ln(x).to_bits());
        }
    }

    /// The largest error relative to the value: the measured 4.5e-16, and some room for another system's
    /// `exp`.
    const TOLERANCE: f64 = 7e-16;

    /// Returns `count` places between two others, at uneven distances.
    fn places(from: f64, to: f64, count: u32) -> impl Iterator<Item = f64> {
        (0..count).map(move |i| {
            from + (to - from) * (f64::from(i) + (f64::from(i) * 0.618_033_988) % 1.0) / f64::from(count)
        })
    }

    #[test]
    fn is_the_exponential_function() {
        let mut worst = (0.0, 0.0);
        for x in places(-708.0, 709.78, 400_000)
            .chain(places(-1.0, 1.0, 100_000))
            .chain(places(-40.0, 0.0, 200_000))
        {
            let error = (exp(x) / x.exp() - 1.0).abs();
            worst = if error <= worst.0 { worst } else { (error, x) };
        }
        assert!(worst.0 < TOLERANCE, "{worst:?}");
    }

    #[test]
    fn rounds_to_the_nearest_f32() {
        let wrong: Vec<f64> =
            places(-104.0, 88.8, 400_000).filter(|&x| exp(x) as f32 != x.exp() as f32).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn edges_are_those_of_exp() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(f64::NEG_INFINITY), exp(-1e300), exp(-708.1)), (0.0, 0.0, 0.0));
        for x in [f64::INFINITY, 1e300, 709.8, 709.785] {
            assert_eq!(exp(x), f64::INFINITY, "{x}");
        }
        assert!(exp(709.78) < f64::MAX && exp(709.78) > 1.79e308 && exp(-708.0) > 0.0);
        assert!(exp(f64::NAN).is_nan() && exp(-f64::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!((sigmoid(0.0), sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY)), (0.5, 1.0, 0.0));
        assert_eq!((sigmoid(f32::MAX), sigmoid(-800.0)), (1.0, 0.0));
    }

    #[test]
    fn grows_with_its_argument() {
        let values: Vec<f64> = places(-2.0, 2.0, 100_000).map(exp).collect();
        assert!(values.is_sorted());
    }

    /// Every machine has to compute the bits that x86-64 and WebAssembly computed.
    #[test]
    fn bits_are_those_recorded() {
        const RECORDED: [(u64, u64); 24] = [
            (0x00000000_00000000, 0x3FF00000_00000000), // exp(0)
            (0x3FF00000_00000000, 0x4005BF0A_8B14576A), // exp(1)
            (0xBFF00000_00000000, 0x3FD78B56_362CEF38), // exp(-1)
            (0x3FE00000_00000000, 0x3FFA6129_8E1E069C), // exp(0.5)
            (0xBFE00000_00000000, 0x3FE368B2_FC6F960A), // exp(-0.5)
            (0x3E112E0B_E826D695, 0x3FF00000_0044B830), // exp(1e-9)
            (0x81A56E1F_C2F8F359, 0x3FF00000_00000000), // exp(-1e-300)
            (0x3FE62E42_FEFA39EF, 0x40000000_00000000), // exp(0.6931471805599453)
            (0xBFE62E42_FEFA39EF, 0x3FE00000_00000000), // exp(-0.6931471805599453)
            (0x3FD62E42_FEFA39EF, 0x3FF6A09E_667F3BCC), // exp(0.34657359027997264)
            (0xBFD62E42_FEFA39EF, 0x3FE6A09E_667F3BCE), // exp(-0.34657359027997264)
            (0x40040000_00000000, 0x40285D6F_D931E0BB), // exp(2.5)
            (0xC00A0000_00000000, 0x3FA3DA36_8521902D), // exp(-3.25)
            (0x40240000_00000000, 0x40D5829D_CF950560), // exp(10)
            (0xC0240000_00000000, 0x3F07CD79_B5647C9B), // exp(-10)
            (0xC030A2B2_39A38FBD, 0x3E700000_5981BC61), // exp(-16.635532)
            (0xC03E0000_00000000, 0x3D3A56E0_C2AC7F75), // exp(-30)
            (0xC055D589_DF1172EF, 0x38100004_FB384CA0), // exp(-87.33654)
            (0xC059D1D9_FD36F7E4, 0x369FFFFF_CC27C664), // exp(-103.27893)
            (0x40562E43_02B40F67, 0x47F00000_EE7564E4), // exp(88.72284)
            (0x4072CB33_33333333, 0x5B0C3714_F17AE742), // exp(300.7)
            (0xC085E200_00000000, 0x00CAF5FE_9A485C8E), // exp(-700.25)
            (0x40862E3D_70A3D70A, 0x7FEFE9CE_5C4C52B4), // exp(709.78)
            (0xC0862000_00000000, 0x0017C8AB_2288C9AC), // exp(-708)
        ];
        for (x, expected) in RECORDED {
            let found = exp(f64::from_bits(x)).to_bits();
            assert_eq!(found, expected, "exp({}) is {found:#018x}", f64::from_bits(x));
        }
    }
}
