//! The element types of tensors: a runtime tag, [`DType`], and the trait that ties it to a Rust type, [`Element`].

use core::fmt;

use bytemuck::Pod;
use half::{bf16, f16};

use crate::{E4M3, E5M2, E8M0};

/// The type of a tensor's elements, known at run time because formats are a recipe's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// FP8 with three mantissa bits, no infinities.
    E4M3,
    /// FP8 with two mantissa bits.
    E5M2,
    /// A power-of-two scale.
    E8M0,
    /// Bytes.
    U8,
    /// Token numbers, counters.
    U32,
    /// Counters and seeds.
    U64,
}

impl DType {
    /// Every type, in order of declaration.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F64,
        Self::F16,
        Self::BF16,
        Self::E4M3,
        Self::E5M2,
        Self::E8M0,
        Self::U8,
        Self::U32,
        Self::U64,
    ];

    /// The size of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::U64 => 8,
            Self::F32 | Self::U32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::E4M3 | Self::E5M2 | Self::E8M0 | Self::U8 => 1,
        }
    }

    /// The name in lower case, as configurations and messages spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::E4M3 => "e4m3",
            Self::E5M2 => "e5m2",
            Self::E8M0 => "e8m0",
            Self::U8 => "u8",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A Rust type that a tensor can hold. Sealed, so that size and tag always agree.
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// The tag of this type.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($element:ty: $dtype:ident;)*) => {$(
        impl sealed::Sealed for $element {}

        impl Element for $element {
            const DTYPE: DType = {
                assert!(size_of::<Self>() == DType::$dtype.bytes());
                DType::$dtype
            };
        }
    )*};
}

elements! {
    f32: F32;
    f64: F64;
    f16: F16;
    bf16: BF16;
    E4M3: E4M3;
    E5M2: E5M2;
    E8M0: E8M0;
    u8: U8;
    u32: U32;
    u64: U64;
}

mod sealed {
    pub trait Sealed {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Element>(name: &str) {
        assert_eq!(T::DTYPE.bytes(), size_of::<T>(), "{name}");
        assert_eq!(T::DTYPE.to_string(), name);
    }

    #[test]
    fn tags_agree_with_types() {
        check::<f32>("f32");
        check::<f64>("f64");
        check::<f16>("f16");
        check::<bf16>("bf16");
        check::<E4M3>("e4m3");
        check::<E5M2>("e5m2");
        check::<E8M0>("e8m0");
        check::<u8>("u8");
        check::<u32>("u32");
        check::<u64>("u64");
    }
}
