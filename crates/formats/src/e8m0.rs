//! [`E8M0`], the power-of-two scale of the OCP microscaling (MX) formats, and the two rules that choose it.

use core::fmt;

use bytemuck::{Pod, Zeroable};

use crate::decode::CANONICAL_NAN;
use crate::encode::{F32_FRACTION_BITS, Overflow};
use crate::fp8::Fp8;
use crate::layout::Layout;

/// A power of two from 2^-127 to 2^127, or NaN: eight exponent bits, no sign, no zero, no infinity.
///
/// Equality and hashing are those of the code, so `E8M0::NAN == E8M0::NAN`. The zeroed value is 2^-127.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct E8M0(u8);

impl E8M0 {
    /// One.
    pub const ONE: Self = Self(127);
    /// The largest value, 2^127.
    pub const MAX: Self = Self(0xFE);
    /// The smallest value, 2^-127; an `f32` holds it as a subnormal.
    pub const MIN: Self = Self(0);
    /// The only NaN.
    pub const NAN: Self = Self(0xFF);

    /// The value with this code.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The code of this value.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// Whether this is the NaN.
    #[inline]
    #[must_use]
    pub const fn is_nan(self) -> bool {
        self.0 == Self::NAN.0
    }

    /// The smallest power of two that is not below the magnitude of `x`; zero becomes 2^-127.
    #[inline]
    #[must_use]
    pub const fn from_f32_up(x: f32, overflow: Overflow) -> Self {
        let abs = x.abs().to_bits();
        let exact = abs.trailing_zeros() >= F32_FRACTION_BITS;
        let exponent =
            if abs <= MIN_AS_F32 { 0 } else { (abs >> F32_FRACTION_BITS) + !exact as u32 };
        Self::from_exponent(x, exponent, overflow)
    }

    /// The largest power of two that is not above the magnitude of `x`; what is smaller than 2^-127 becomes that.
    #[inline]
    #[must_use]
    pub const fn from_f32_zero(x: f32, overflow: Overflow) -> Self {
        Self::from_exponent(x, x.abs().to_bits() >> F32_FRACTION_BITS, overflow)
    }

    /// The value as an `f32`, exactly.
    #[inline]
    #[must_use]
    pub const fn to_f32(self) -> f32 {
        f32::from_bits(match self {
            Self::MIN => MIN_AS_F32,
            Self::NAN => CANONICAL_NAN,
            Self(exponent) => (exponent as u32) << F32_FRACTION_BITS,
        })
    }

    const fn from_exponent(x: f32, exponent: u32, overflow: Overflow) -> Self {
        match overflow {
            _ if x.is_nan() => Self::NAN,
            Overflow::Saturate if exponent > Self::MAX.0 as u32 => Self::MAX,
            _ => Self(exponent as u8),
        }
    }

    /// Restricts a scale to 2^-126 ..= 2^127, the normal numbers of `f32`.
    const fn clamp_normal(exponent: i32) -> Self {
        Self(if exponent < 1 {
            1
        } else if exponent > Self::MAX.0 as i32 {
            Self::MAX.0
        } else {
            exponent as u8
        })
    }
}

/// Scales of MX blocks, the decoding side: an element is encoded after division by its scale. Both rules give a
/// normal `f32`; an infinite or NaN `amax` counts as 2^128.
impl<L: Layout> Fp8<L> {
    /// The rule of the OCP MX specification: `2^(floor(log2 amax) - MAX_EXPONENT)`. The largest elements of a block
    /// may saturate.
    #[inline]
    #[must_use]
    pub const fn mx_scale_ocp(amax: f32) -> E8M0 {
        let power = E8M0::from_f32_zero(amax, Overflow::NonSaturate);
        E8M0::clamp_normal(power.0 as i32 - Self::MAX_EXPONENT)
    }

    /// The rule of cuBLAS, DeepGEMM and NVIDIA's MXFP8 recipe: `amax / MAX` rounded up to a power of two, so that no
    /// element saturates.
    #[inline]
    #[must_use]
    pub const fn mx_scale_round_up(amax: f32) -> E8M0 {
        let power = E8M0::from_f32_up(amax / Self::MAX_F32, Overflow::NonSaturate);
        E8M0::clamp_normal(power.0 as i32)
    }
}

impl From<E8M0> for f32 {
    #[inline]
    fn from(x: E8M0) -> Self {
        x.to_f32()
    }
}

impl fmt::Debug for E8M0 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e} ({:#04x})", self.to_f32(), self.0)
    }
}

impl fmt::Display for E8M0 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f32().fmt(f)
    }
}

/// The bits of the `f32` 2^-127.
const MIN_AS_F32: u32 = 0x0040_0000;
