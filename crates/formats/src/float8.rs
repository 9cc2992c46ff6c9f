//! Exchange with the types of the crate `float8`, code for code.

use ::float8::{F8E4M3, F8E5M2};

use crate::{E4M3, E5M2};

macro_rules! same_codes {
    ($($ours:ty = $theirs:ty;)*) => {$(
        impl From<$theirs> for $ours {
            #[inline]
            fn from(x: $theirs) -> Self {
                Self::from_bits(x.to_bits())
            }
        }

        impl From<$ours> for $theirs {
            #[inline]
            fn from(x: $ours) -> Self {
                Self::from_bits(x.to_bits())
            }
        }
    )*};
}

same_codes! {
    E4M3 = F8E4M3;
    E5M2 = F8E5M2;
}
