//! [`E5M6`], twelve bits for stored activations, and two of them in three bytes.

use core::fmt;

use crate::decode::{CANONICAL_NAN, canonical};
use crate::encode::{F32_BIAS, F32_FRACTION_BITS, Overflow, Steps};

/// A float of twelve bits: sign, five exponent bits with a bias of 15, six fraction bits. The topmost exponent holds
/// the infinities and the NaNs, as IEEE 754 has it, so the largest value is 65,024.
///
/// DeepSeek-V3 stores the inputs of some linears in a format of this name, whose bits are not published.
///
/// A value is first of all a code: equality and hashing compare codes, not numbers.
///
/// ```
/// use fp8lm_formats::{E5M6, Overflow};
///
/// let mut packed = [0; E5M6::packed_bytes(3)];
/// E5M6::encode_packed(&[1.0, -65_024.0, 1e9], 1.0, &mut packed, Overflow::Saturate);
/// assert_eq!(packed, [0xC0, 0xF3, 0xFB, 0xBF, 0x07]);
///
/// let mut x = [0.0; 3];
/// E5M6::decode_packed(&packed, 1.0, &mut x);
/// assert_eq!(x, [1.0, -65_024.0, 65_024.0]);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct E5M6(u16);

impl E5M6 {
    /// Positive zero.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(15 << MANTISSA_BITS);
    /// The largest value.
    pub const MAX: Self = Self(INFINITY - 1);
    /// The lowest finite value, `-MAX`.
    pub const MIN: Self = Self(SIGN | (INFINITY - 1));
    /// The smallest positive normal value.
    pub const MIN_POSITIVE: Self = Self(1 << MANTISSA_BITS);
    /// The smallest positive value.
    pub const MIN_POSITIVE_SUBNORMAL: Self = Self(1);
    /// Positive infinity.
    pub const INFINITY: Self = Self(INFINITY);
    /// The NaN that every cast of a NaN gives.
    pub const NAN: Self = Self(SIGN - 1);
    /// [`MAX`](Self::MAX) as an `f32`.
    pub const MAX_F32: f32 = Self::MAX.to_f32();

    /// The value with this code, the lower twelve bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & 0x0FFF)
    }

    /// The code of this value, below 2^12.
    #[inline(always)]
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// Whether this is a NaN, of any sign and payload.
    #[inline(always)]
    #[must_use]
    pub const fn is_nan(self) -> bool {
        self.0 & !SIGN > INFINITY
    }

    /// Rounds an `f32`, once, to nearest with ties to even. Underflow keeps the sign; any NaN becomes
    /// [`NAN`](Self::NAN).
    #[inline(always)]
    #[must_use]
    pub const fn from_f32(x: f32, overflow: Overflow) -> Self {
        let limit = match overflow {
            Overflow::Saturate => Self::MAX_F32,
            // The step after the largest value, whose code is the infinity's.
            Overflow::NonSaturate => 65_536.0,
        };
        let abs = if x.abs() < limit { x.abs() } else { limit };
        let sign = (x.to_bits() >> 20) as u16 & SIGN;
        let code = STEPS.round(abs) as u16 & (SIGN - 1) | sign;
        Self(if x.is_nan() { Self::NAN.0 } else { code })
    }

    /// Rounds an `f32`; what is too large becomes the largest value.
    #[inline(always)]
    #[must_use]
    pub const fn from_f32_saturating(x: f32) -> Self {
        Self::from_f32(x, Overflow::Saturate)
    }

    /// The value as an `f32`, exactly. Any NaN gives the one with all bits but the sign set.
    #[inline(always)]
    #[must_use]
    pub const fn to_f32(self) -> f32 {
        let magnitude = (self.0 & !SIGN) as u32;
        let sign = ((self.0 & SIGN) as u32) << 20;
        // The multiplication moves the bias, subnormals included; it is exact.
        let abs = f32::from_bits(magnitude << DISCARDED_BITS) * f32::from_bits(REBIAS);
        let infinite = f32::INFINITY.to_bits();
        let abs = if magnitude < INFINITY as u32 { abs.to_bits() } else { infinite };
        f32::from_bits(if self.is_nan() { CANONICAL_NAN } else { abs | sign })
    }
}

/// Packed slices: the code of an even element is byte 0 of three with the low half of byte 1 above it, that of the
/// odd one after it the high half of byte 1 with byte 2 above it. The last of an odd number of elements takes two
/// bytes, and the high half of the second is 0 when written, of no account when read.
impl E5M6 {
    /// The bytes that `len` packed elements take: three halves of it, rounded up.
    #[inline]
    #[must_use]
    pub const fn packed_bytes(len: usize) -> usize {
        len + len.div_ceil(2)
    }

    /// Casts each `x * scale`, the product rounded to `f32` first.
    ///
    /// # Panics
    /// If `out` has another length than [`packed_bytes`](Self::packed_bytes) tells.
    #[inline(always)]
    #[track_caller]
    pub fn encode_packed(x: &[f32], scale: f32, out: &mut [u8], overflow: Overflow) {
        assert_eq!(out.len(), Self::packed_bytes(x.len()), "three bytes for two values");
        let (pairs, last) = x.as_chunks::<2>();
        let (triples, rest) = out.as_chunks_mut::<3>();
        let code = |x: f32| u32::from(Self::from_f32(x * scale, overflow).0);
        for (triple, [even, odd]) in triples.iter_mut().zip(pairs) {
            [triple[0], triple[1], triple[2], _] = (code(*even) | code(*odd) << 12).to_le_bytes();
        }
        for x in last {
            rest.copy_from_slice(&code(*x).to_le_bytes()[..2]);
        }
    }

    /// Multiplies each decoded value by `scale_inv`, rounding once. NaNs are canonical, as those of
    /// [`to_f32`](Self::to_f32).
    ///
    /// # Panics
    /// If `packed` has another length than [`packed_bytes`](Self::packed_bytes) tells.
    #[inline(always)]
    #[track_caller]
    pub fn decode_packed(packed: &[u8], scale_inv: f32, out: &mut [f32]) {
        assert_eq!(packed.len(), Self::packed_bytes(out.len()), "three bytes for two values");
        let (pairs, last) = out.as_chunks_mut::<2>();
        let (triples, rest) = packed.as_chunks::<3>();
        let value = |code: u32| canonical(Self::from_bits(code as u16).to_f32() * scale_inv);
        for ([even, odd], &[low, middle, high]) in pairs.iter_mut().zip(triples) {
            let codes = u32::from_le_bytes([low, middle, high, 0]);
            (*even, *odd) = (value(codes), value(codes >> 12));
        }
        for x in last {
            *x = value(u32::from_le_bytes([rest[0], rest[1], 0, 0]));
        }
    }
}

impl From<E5M6> for f32 {
    #[inline]
    fn from(x: E5M6) -> Self {
        x.to_f32()
    }
}

impl fmt::Debug for E5M6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#05x})", self.to_f32(), self.0)
    }
}

impl fmt::Display for E5M6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f32().fmt(f)
    }
}

const MANTISSA_BITS: u32 = 6;
const BIAS: i32 = 15;
const SIGN: u16 = 0x800;
const INFINITY: u16 = 31 << MANTISSA_BITS;
const STEPS: Steps = Steps::new(MANTISSA_BITS, BIAS);
const DISCARDED_BITS: u32 = F32_FRACTION_BITS - MANTISSA_BITS;
/// The bits of the `f32` 2^112, the ratio of two values with the same exponent field.
const REBIAS: u32 = ((2 * F32_BIAS - BIAS) as u32) << F32_FRACTION_BITS;
