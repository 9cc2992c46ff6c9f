//! [`Fp8`], one byte of floating point in any [`Layout`]: constants, bits and classification.

use core::fmt;
use core::marker::PhantomData;
use core::num::FpCategory;

use bytemuck::{Pod, Zeroable};

use crate::layout::{self, Layout, Specials};

/// A one-byte float in the layout `L`; use it as [`E4M3`], [`E5M2`], [`E4M3Fnuz`] or [`E5M2Fnuz`].
///
/// A value is first of all a code: equality and hashing compare codes, not numbers, so a NaN equals itself and
/// `ZERO != NEG_ZERO`. There is no order and no arithmetic; decode with [`to_f32`](Self::to_f32) for both.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fp8<L: Layout>(u8, PhantomData<L>);

/// FP8 for weights and activations: largest value 448, no infinities.
pub type E4M3 = Fp8<layout::E4M3>;
/// FP8 for gradients: largest value 57,344, with infinities.
pub type E5M2 = Fp8<layout::E5M2>;
/// E4M3 with an unsigned zero: largest value 240, one NaN, no infinities.
pub type E4M3Fnuz = Fp8<layout::E4M3Fnuz>;
/// E5M2 with an unsigned zero: largest value 57,344, one NaN, no infinities.
pub type E5M2Fnuz = Fp8<layout::E5M2Fnuz>;

// SAFETY: `Fp8` is transparent over `u8` (`PhantomData` has size 0 and alignment 1), and the code 0 is +0.
unsafe impl<L: Layout> Zeroable for Fp8<L> {}
// SAFETY: as above; every code is a valid value, there is no padding and no interior mutability, and `L: 'static`.
unsafe impl<L: Layout> Pod for Fp8<L> {}

impl<L: Layout> Fp8<L> {
    /// Width of the exponent field.
    pub const EXPONENT_BITS: u32 = 7 - L::MANTISSA_BITS;
    /// Width of the fraction field, without the implicit leading one.
    pub const MANTISSA_BITS: u32 = L::MANTISSA_BITS;
    /// What is subtracted from the exponent field of a normal number.
    pub const BIAS: i32 = L::BIAS;
    /// The exponent of the largest value: `MAX` lies in `[2^MAX_EXPONENT, 2^(MAX_EXPONENT + 1))`.
    pub const MAX_EXPONENT: i32 = (Self::MAX.0 >> L::MANTISSA_BITS) as i32 - L::BIAS;

    /// Positive zero.
    pub const ZERO: Self = Self::from_bits(0);
    /// One.
    pub const ONE: Self = Self::from_bits((L::BIAS as u8) << L::MANTISSA_BITS);
    /// The largest value.
    pub const MAX: Self = Self::from_bits(match L::SPECIALS {
        Specials::Ieee => 0x7F - (1 << L::MANTISSA_BITS),
        Specials::Finite => 0x7E,
        Specials::FiniteUnsignedZero => 0x7F,
    });
    /// The lowest finite value, `-MAX`.
    pub const MIN: Self = Self::from_bits(Self::MAX.0 | SIGN);
    /// The smallest positive normal value.
    pub const MIN_POSITIVE: Self = Self::from_bits(1 << L::MANTISSA_BITS);
    /// The smallest positive value.
    pub const MIN_POSITIVE_SUBNORMAL: Self = Self::from_bits(1);
    /// The distance from one to the next larger value.
    pub const EPSILON: Self =
        Self::from_bits((L::BIAS as u8 - L::MANTISSA_BITS as u8) << L::MANTISSA_BITS);
    /// The NaN that every cast of a NaN gives.
    pub const NAN: Self = Self::from_bits(match L::SPECIALS {
        Specials::Ieee | Specials::Finite => 0x7F,
        Specials::FiniteUnsignedZero => SIGN,
    });
    /// [`MAX`](Self::MAX) as an `f32`: what scaling factors are computed from.
    pub const MAX_F32: f32 = Self::MAX.to_f32();

    /// The value with this code.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits, PhantomData)
    }

    /// The code of this value.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// Whether this is a NaN, of any sign and payload.
    #[must_use]
    pub const fn is_nan(self) -> bool {
        match L::SPECIALS {
            Specials::Ieee => self.magnitude() > Self::MAX.0 + 1,
            Specials::Finite => self.magnitude() > Self::MAX.0,
            Specials::FiniteUnsignedZero => self.0 == Self::NAN.0,
        }
    }

    /// Whether this is an infinity; only E5M2 has any.
    #[must_use]
    pub const fn is_infinite(self) -> bool {
        matches!(L::SPECIALS, Specials::Ieee) && self.magnitude() == Self::MAX.0 + 1
    }

    /// Whether this is neither NaN nor infinite.
    #[must_use]
    pub const fn is_finite(self) -> bool {
        !self.is_nan() && !self.is_infinite()
    }

    /// Whether this is a zero of either sign.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.magnitude() == 0 && !self.is_nan()
    }

    /// Whether this is non-zero and below the smallest normal value in magnitude.
    #[must_use]
    pub const fn is_subnormal(self) -> bool {
        self.magnitude() != 0 && self.magnitude() < Self::MIN_POSITIVE.0
    }

    /// Whether the sign bit is set, be it that of a zero or a NaN.
    #[must_use]
    pub const fn is_sign_negative(self) -> bool {
        self.0 & SIGN != 0
    }

    /// The category of this value.
    #[must_use]
    pub const fn classify(self) -> FpCategory {
        if self.is_nan() {
            FpCategory::Nan
        } else if self.is_infinite() {
            FpCategory::Infinite
        } else if self.is_zero() {
            FpCategory::Zero
        } else if self.is_subnormal() {
            FpCategory::Subnormal
        } else {
            FpCategory::Normal
        }
    }

    const fn magnitude(self) -> u8 {
        self.0 & !SIGN
    }
}

impl E5M2 {
    /// Positive infinity.
    pub const INFINITY: Self = Self::from_bits(0x7C);
    /// Negative infinity.
    pub const NEG_INFINITY: Self = Self::from_bits(0xFC);
}

impl<L: Layout> fmt::Debug for Fp8<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.to_f32(), self.0)
    }
}

impl<L: Layout> fmt::Display for Fp8<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f32().fmt(f)
    }
}

/// The sign bit of every layout.
pub(crate) const SIGN: u8 = 0x80;
