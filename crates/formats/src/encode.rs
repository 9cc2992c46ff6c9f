//! Casts into FP8: one rounding to nearest-even, straight from the source type.

use half::{bf16, f16};

use crate::fp8::{Fp8, SIGN};
use crate::layout::{Layout, Specials};

/// What becomes of a value that rounds beyond the largest finite one, and of an infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Overflow {
    /// The largest finite value with the sign, as PTX `cvt.rn.satfinite` does.
    #[default]
    Saturate,
    /// Infinity where the format has one, otherwise NaN; both keep the sign if they can.
    NonSaturate,
}

/// Every cast rounds once, to nearest with ties to even. Underflow keeps the sign where zero has one; any NaN
/// becomes [`NAN`](Fp8::NAN), without its sign and payload.
impl<L: Layout> Fp8<L> {
    /// Rounds an `f32`.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32(x: f32, overflow: Overflow) -> Self {
        let magnitude = steps::<L>().round(min(x.abs(), Self::limit(overflow))) as u8;
        Self::from_rounded(x, magnitude)
    }

    /// Rounds an `f32`; what is too large becomes the largest value.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32_saturating(x: f32) -> Self {
        Self::from_f32(x, Overflow::Saturate)
    }

    /// Rounds an `f32`; what is too large becomes infinite or NaN.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32_nonsaturating(x: f32) -> Self {
        Self::from_f32(x, Overflow::NonSaturate)
    }

    /// Rounds an `f64`, once: the `f32` on the way is rounded to odd, which no later rounding can tell from `x`.
    #[inline]
    #[must_use]
    pub const fn from_f64(x: f64, overflow: Overflow) -> Self {
        Self::from_f32(round_to_odd(x), overflow)
    }

    /// Rounds an `f64`; what is too large becomes the largest value.
    #[inline]
    #[must_use]
    pub const fn from_f64_saturating(x: f64) -> Self {
        Self::from_f64(x, Overflow::Saturate)
    }

    /// Rounds an `f64`; what is too large becomes infinite or NaN.
    #[inline]
    #[must_use]
    pub const fn from_f64_nonsaturating(x: f64) -> Self {
        Self::from_f64(x, Overflow::NonSaturate)
    }

    /// Rounds an `f16`.
    #[inline]
    #[must_use]
    pub const fn from_f16(x: f16, overflow: Overflow) -> Self {
        Self::from_f32(x.to_f32_const(), overflow)
    }

    /// Rounds a `bf16`.
    #[inline]
    #[must_use]
    pub const fn from_bf16(x: bf16, overflow: Overflow) -> Self {
        Self::from_f32(x.to_f32_const(), overflow)
    }

    /// Rounds an `f32` up with the probability of its place between its two neighbours, otherwise down.
    ///
    /// `random` should be uniform, such as a word of a [`StochasticStream`](crate::philox::StochasticStream). Of the
    /// `d` bits that do not fit, 20 for a normal E4M3, the upper `d` of `random` are added and the sum is cut off;
    /// values that would lose 32 bits or more become zero.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32_stochastic(x: f32, random: u32, overflow: Overflow) -> Self {
        let magnitude = round_stochastically::<L>(min(x.abs(), Self::limit(overflow)), random);
        Self::from_rounded(x, magnitude)
    }

    /// What larger magnitudes are cut to before rounding: the largest value, or the step after it on the same grid.
    /// The code of that step is the infinity of E5M2, a NaN of E4M3, and the sign bit, so the NaN, of "fnuz".
    #[inline(always)]
    pub(crate) const fn limit(overflow: Overflow) -> f32 {
        match overflow {
            Overflow::Saturate => Self::MAX_F32,
            Overflow::NonSaturate => {
                f32::from_bits(Self::MAX_F32.to_bits() + (1 << steps::<L>().discarded_bits))
            }
        }
    }

    /// Joins the code of the rounded magnitude with the sign of `x`, or gives NaN if `x` is one.
    #[inline(always)]
    const fn from_rounded(x: f32, magnitude: u8) -> Self {
        let unsigned = matches!(L::SPECIALS, Specials::FiniteUnsignedZero) && magnitude == 0;
        let sign = if unsigned { 0 } else { (x.to_bits() >> 24) as u8 & SIGN };
        Self::from_bits(if x.is_nan() { Self::NAN.to_bits() } else { magnitude | sign })
    }
}

/// The grid of a format that is narrower than `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    /// The exponent field that the format's smallest normal value has as an `f32`, in place.
    pub(crate) min_exponent: u32,
    /// The fraction bits of an `f32` that a normal value of the format has no room for.
    pub(crate) discarded_bits: u32,
}

impl Steps {
    pub(crate) const fn new(mantissa_bits: u32, bias: i32) -> Self {
        Self {
            min_exponent: ((F32_BIAS + 1 - bias) as u32) << F32_FRACTION_BITS,
            discarded_bits: F32_FRACTION_BITS - mantissa_bits,
        }
    }

    /// The code of `abs` rounded to nearest-even, in the low twelve bits; `abs` is not negative and at most the step
    /// after the largest value.
    ///
    /// The floating-point adder rounds: in the binade of `magic` one unit in the last place is one step of the format
    /// at `abs`, so the low bits of the sum count steps. Below the smallest normal value the step stays that of the
    /// smallest normal value, so subnormals need no case of their own. Every larger exponent then adds the steps of
    /// one binade. Wrapping operations only because checks would keep loops from becoming SIMD in debug builds.
    #[inline(always)]
    pub(crate) const fn round(self, abs: f32) -> u32 {
        let exponent = self.exponent(abs);
        // Counted from the smallest normal exponent; an even number of steps, so ties still go to even.
        let origin = (self.min_exponent >> self.discarded_bits).wrapping_neg() & 0xFFF;
        let magic =
            exponent.wrapping_add(self.discarded_bits << F32_FRACTION_BITS).wrapping_add(origin);
        let sum = (abs + f32::from_bits(magic)).to_bits();
        sum.wrapping_add(exponent >> self.discarded_bits)
    }

    /// The exponent field of `abs`, in place, but at least that of the format's smallest normal value.
    #[inline(always)]
    const fn exponent(self, abs: f32) -> u32 {
        let exponent = abs.to_bits() & F32_EXPONENT;
        if exponent > self.min_exponent { exponent } else { self.min_exponent }
    }
}

#[inline(always)]
pub(crate) const fn steps<L: Layout>() -> Steps {
    Steps::new(L::MANTISSA_BITS, L::BIAS)
}

/// The code of `abs` rounded up where the random bits carry; `abs` is not negative and at most the limit.
#[inline(always)]
const fn round_stochastically<L: Layout>(abs: f32, random: u32) -> u8 {
    let Steps { min_exponent, discarded_bits } = steps::<L>();
    let exponent = steps::<L>().exponent(abs);
    let own_exponent = abs.to_bits() & F32_EXPONENT;
    // An f32 subnormal has no implicit one, but loses far more than 32 bits anyway.
    let significand = abs.to_bits() & F32_FRACTION | 1 << F32_FRACTION_BITS;
    let shift = discarded_bits + ((exponent - own_exponent) >> F32_FRACTION_BITS);
    let steps = if shift < 32 { (significand + (random >> (32 - shift))) >> shift } else { 0 };
    (steps + ((exponent - min_exponent) >> discarded_bits)) as u8
}

/// The smaller; a NaN, replaced at the end, may become either. `f32::min` would cost an instruction to avoid it.
#[inline(always)]
const fn min(abs: f32, limit: f32) -> f32 {
    if abs < limit { abs } else { limit }
}

/// Cuts an `f64` to the 24 significant bits of an `f32` and sets the last of them if anything was lost.
///
/// With at least two bits more than the target, rounding to odd makes double rounding harmless (Boldo and
/// Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
const fn round_to_odd(x: f64) -> f32 {
    let lost = x.to_bits() & 0x1FFF_FFFF;
    let sticky = ((lost != 0) as u64) << 29;
    f64::from_bits((x.to_bits() - lost) | sticky) as f32
}

pub(crate) const F32_BIAS: i32 = 127;
pub(crate) const F32_FRACTION_BITS: u32 = 23;
const F32_FRACTION: u32 = 0x007F_FFFF;
const F32_EXPONENT: u32 = 0x7F80_0000;
