//! Scales chosen from the largest magnitude.

use fp8lm_device::Result;

use crate::args::Args;

/// How a scale follows from amax, as launches number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Always 1.
    None,
    /// fp_max / amax, rounded once.
    Exact,
    /// The power of two at or below that.
    Pow2,
}

impl Rule {
    /// The rule that argument `index` chooses.
    pub(crate) fn of(args: &Args<'_>, index: usize) -> Result<Self> {
        match args.extent(index) {
            0 => Ok(Rule::None),
            1 => Ok(Rule::Exact),
            2 => Ok(Rule::Pow2),
            other => Err(args.invalid(index, "0, 1 or 2".into(), other.to_string())),
        }
    }

    /// The factor that brings magnitudes up to `amax` into a format whose largest is `fp_max`.
    pub(crate) fn scale(self, amax: f32, fp_max: f32) -> f32 {
        if self == Rule::None || amax == 0.0 || !amax.is_finite() {
            return 1.0;
        }
        let quotient = (fp_max / amax).min(f32::MAX);
        if self == Rule::Exact { quotient } else { power_of_two_below(quotient) }
    }
}

/// 2^floor(log2 x), and 2^-126 for a subnormal `x`.
fn power_of_two_below(x: f32) -> f32 {
    f32::from_bits((x.to_bits() & INFINITY).max(f32::MIN_POSITIVE.to_bits()))
}

/// The larger of `amax` and the largest magnitude of `values`; NaN counts as infinite.
#[inline(always)]
pub(crate) fn amax(amax: f32, values: &[f32]) -> f32 {
    // Bits of magnitudes are ordered as the magnitudes are, and an integer maximum may be
    // regrouped into SIMD lanes.
    let bits = values.iter().map(|value| value.to_bits() & !SIGN).fold(amax.to_bits(), u32::max);
    f32::from_bits(bits.min(INFINITY))
}

/// Raises each of `maxima` to the largest magnitude of its column of `values`, NaN being the largest. It takes four
/// rows at a time, for to read and write the maxima takes longer than to compare.
#[inline(always)]
pub(crate) fn raise_columns(maxima: &mut [f32], values: &[f32]) {
    let cols = maxima.len();
    let quads = values.chunks_exact(4 * cols);
    let rest = quads.remainder().chunks_exact(cols);
    for quad in quads {
        let (ab, cd) = quad.split_at(2 * cols);
        let ((a, b), (c, d)) = (ab.split_at(cols), cd.split_at(cols));
        for ((((maximum, a), b), c), d) in maxima.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *maximum = largest([*maximum, *a, *b, *c, *d]);
        }
    }
    for row in rest {
        for (maximum, x) in maxima.iter_mut().zip(row) {
            *maximum = largest([*maximum, *x]);
        }
    }
}

#[inline(always)]
fn largest<const N: usize>(values: [f32; N]) -> f32 {
    let mut bits = 0;
    for value in values {
        bits = (value.to_bits() & !SIGN).max(bits);
    }
    f32::from_bits(bits)
}

/// The largest magnitude of many runs of values, kept in as many lanes as a SIMD register has:
/// to fold them after every short run would take longer than the run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Amax([u32; 16]);

impl Amax {
    /// Takes values into account.
    #[inline(always)]
    pub(crate) fn take(&mut self, values: &[f32]) {
        let (blocks, rest) = values.as_chunks();
        let mut lanes = self.0;
        for block in blocks {
            lanes = larger(lanes, block);
        }
        let mut last = [0.0; 16];
        last[..rest.len()].copy_from_slice(rest);
        self.0 = larger(lanes, &last);
    }

    /// As [`amax`].
    #[inline(always)]
    pub(crate) fn value(self) -> f32 {
        amax(0.0, &self.0.map(f32::from_bits))
    }
}

#[inline(always)]
fn larger(lanes: [u32; 16], values: &[f32; 16]) -> [u32; 16] {
    std::array::from_fn(|i| lanes[i].max(values[i].to_bits() & !SIGN))
}

pub(crate) const SIGN: u32 = 0x8000_0000;
const INFINITY: u32 = 0x7F80_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_follow_their_rule() {
        let cases = [
            (1.0, 448.0, 448.0, 256.0),
            (448.0, 448.0, 1.0, 1.0),
            (449.0, 448.0, 448.0 / 449.0, 0.5),
            (0.0, 448.0, 1.0, 1.0),
            (f32::INFINITY, 448.0, 1.0, 1.0),
            (f32::NAN, 448.0, 1.0, 1.0),
            (f32::from_bits(1), 448.0, f32::MAX, f32::from_bits(254 << 23)),
            (f32::MAX, f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE),
        ];
        for (amax, fp_max, exact, pow2) in cases {
            assert_eq!(Rule::None.scale(amax, fp_max), 1.0, "none, amax {amax:e}");
            assert_eq!(Rule::Exact.scale(amax, fp_max), exact, "exact, amax {amax:e}");
            assert_eq!(Rule::Pow2.scale(amax, fp_max), pow2, "pow2, amax {amax:e}");
        }
    }

    #[test]
    fn nan_is_the_largest_magnitude() {
        assert_eq!(amax(0.0, &[]), 0.0);
        assert_eq!(amax(2.0, &[1.0, -3.0]), 3.0);
        assert_eq!(amax(4.0, &[1.0, -3.0]), 4.0);
        assert_eq!(amax(0.0, &[1.0, -f32::NAN, f32::INFINITY]), f32::INFINITY);
        assert_eq!(amax(f32::NAN, &[]), f32::INFINITY);
    }
}
