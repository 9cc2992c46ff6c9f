//! The layouts that [`Fp8`](crate::Fp8) is generic over: how eight bits divide, and what the special codes mean.

use core::fmt::Debug;
use core::hash::Hash;

/// How a format spends its topmost codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// IEEE 754: the topmost exponent holds the infinities and the NaNs.
    Ieee,
    /// "fn", finite: no infinity; only the all-ones code of either sign is NaN.
    Finite,
    /// "fnuz", finite with an unsigned zero: the code of negative zero is the only NaN.
    FiniteUnsignedZero,
}

/// The layout of a one-byte float: a sign bit, then exponent, then mantissa. Sealed.
pub trait Layout:
    Copy + Debug + Default + Eq + Hash + Send + Sync + 'static + sealed::Sealed
{
    /// The name of the format in lower case.
    const NAME: &'static str;
    /// Width of the fraction field; the exponent has the rest of the seven bits.
    const MANTISSA_BITS: u32;
    /// What is subtracted from the exponent field of a normal number.
    const BIAS: i32;
    /// What the topmost codes mean.
    const SPECIALS: Specials;
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $layout:ident: $name:literal, $mantissa_bits:literal, $bias:literal, $specials:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $layout;

        impl sealed::Sealed for $layout {}

        impl Layout for $layout {
            const NAME: &'static str = $name;
            const MANTISSA_BITS: u32 = $mantissa_bits;
            const BIAS: i32 = $bias;
            const SPECIALS: Specials = Specials::$specials;
        }
    )*};
}

layouts! {
    /// Four exponent bits, three mantissa bits, as in the OCP 8-bit specification: for weights and activations.
    E4M3: "e4m3", 3, 7, Finite;
    /// Five exponent bits, two mantissa bits, as in the OCP 8-bit specification: for gradients.
    E5M2: "e5m2", 2, 15, Ieee;
    /// [`struct@E4M3`] with an unsigned zero and a bias of 8.
    E4M3Fnuz: "e4m3fnuz", 3, 8, FiniteUnsignedZero;
    /// [`struct@E5M2`] with an unsigned zero, no infinities and a bias of 16.
    E5M2Fnuz: "e5m2fnuz", 2, 16, FiniteUnsignedZero;
}

mod sealed {
    pub trait Sealed {}
}
