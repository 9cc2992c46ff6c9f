//! FP8 and E8M0 number formats: exact casts, saturation, stochastic rounding, slices.

#![cfg_attr(not(feature = "std"), no_std)]

mod decode;
mod dtype;
mod e8m0;
mod encode;
#[cfg(feature = "float8")]
mod float8;
mod fp8;
pub mod layout;
pub mod philox;
#[cfg(feature = "serde")]
mod serde;
mod slice;

pub use dtype::{DType, Element};
pub use e8m0::E8M0;
pub use encode::Overflow;
pub use fp8::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz, Fp8};
