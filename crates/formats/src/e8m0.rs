//! [`E8M0`], the power-of-two scale of the OCP microscaling formats.

use bytemuck::{Pod, Zeroable};

/// A power of two from 2^-127 to 2^127, or NaN: eight exponent bits, no sign, no zero, no infinity.
///
/// Equality and hashing are those of the code, so `E8M0::NAN == E8M0::NAN`. The zeroed value is 2^-127.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct E8M0(u8);

impl E8M0 {
    /// The value with this code.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The code of this value.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        self.0
    }
}

impl core::fmt::Debug for E8M0 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}
