//! [`Fp8`], one byte of floating point in any [`Layout`]: constants, bits and classification.

use core::fmt;
use core::marker::PhantomData;

use bytemuck::{Pod, Zeroable};

use crate::layout::{self, Layout};

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
}

impl<L: Layout> fmt::Debug for Fp8<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}
