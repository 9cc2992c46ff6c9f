//! Casts out of FP8, all of them exact.

use half::{bf16, f16};

use crate::encode::{F32_BIAS, F32_FRACTION_BITS};
use crate::fp8::{Fp8, SIGN};
use crate::layout::{Layout, Specials};

/// Every value of every layout is exact in all of these types. Any NaN gives the one with all bits but the sign set.
impl<L: Layout> Fp8<L> {
    /// The value as an `f32`.
    #[inline(always)]
    #[must_use]
    pub const fn to_f32(self) -> f32 {
        let magnitude = (self.to_bits() & !SIGN) as u32;
        let sign = ((self.to_bits() & SIGN) as u32) << 24;
        let abs = if magnitude < 1 << L::MANTISSA_BITS {
            subnormal::<L>(magnitude)
        } else {
            normal::<L>(magnitude)
        };
        f32::from_bits(if self.is_nan() { CANONICAL_NAN } else { abs | sign })
    }

    /// The value as an `f64`.
    #[inline]
    #[must_use]
    pub const fn to_f64(self) -> f64 {
        self.to_f32() as f64
    }

    /// The value as an `f16`.
    #[inline]
    #[must_use]
    pub const fn to_f16(self) -> f16 {
        f16::from_f32_const(self.to_f32())
    }

    /// The value as a `bf16`.
    #[inline]
    #[must_use]
    pub const fn to_bf16(self) -> bf16 {
        bf16::from_f32_const(self.to_f32())
    }
}

/// The bits of the `f32` with the magnitude of a normal or infinite code: the exponent is biased anew.
#[inline(always)]
const fn normal<L: Layout>(magnitude: u32) -> u32 {
    if matches!(L::SPECIALS, Specials::Ieee) && magnitude > Fp8::<L>::MAX.to_bits() as u32 {
        return f32::INFINITY.to_bits();
    }
    let rebias = ((F32_BIAS - L::BIAS) as u32) << F32_FRACTION_BITS;
    (magnitude << (F32_FRACTION_BITS - L::MANTISSA_BITS)).wrapping_add(rebias)
}

/// The bits of the `f32` with the magnitude of a subnormal code: so many times the smallest one.
#[inline(always)]
const fn subnormal<L: Layout>(magnitude: u32) -> u32 {
    let smallest = ((F32_BIAS + 1 - L::BIAS) as u32 - L::MANTISSA_BITS) << F32_FRACTION_BITS;
    (magnitude as f32 * f32::from_bits(smallest)).to_bits()
}

macro_rules! exact {
    ($($target:ty: $to:ident;)*) => {$(
        impl<L: Layout> From<Fp8<L>> for $target {
            #[inline]
            fn from(x: Fp8<L>) -> Self {
                x.$to()
            }
        }
    )*};
}

exact! {
    f32: to_f32;
    f64: to_f64;
    f16: to_f16;
    bf16: to_bf16;
}

/// The same number; any NaN as the canonical one. On integers, because to the compiler one NaN is as good as another.
#[inline(always)]
pub(crate) const fn canonical(x: f32) -> f32 {
    let is_nan = (x.to_bits() & 0x7FFF_FFFF) as i32 > 0x7F80_0000;
    f32::from_bits(if is_nan { CANONICAL_NAN } else { x.to_bits() })
}

/// The NaN of NVIDIA's tensor cores and conversions.
pub(crate) const CANONICAL_NAN: u32 = 0x7FFF_FFFF;
