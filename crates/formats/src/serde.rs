//! Every value is written as its code, a `u8`: exact, and the same in every data format.

use ::serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::layout::Layout;
use crate::{E8M0, Fp8};

macro_rules! as_code {
    ($([$($generics:tt)*] $format:ty;)*) => {$(
        impl<$($generics)*> Serialize for $format {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.to_bits().serialize(serializer)
            }
        }

        impl<'de, $($generics)*> Deserialize<'de> for $format {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                u8::deserialize(deserializer).map(Self::from_bits)
            }
        }
    )*};
}

as_code! {
    [L: Layout] Fp8<L>;
    [] E8M0;
}
