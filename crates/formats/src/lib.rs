//! FP8 and E8M0 number formats: exact casts, saturation, stochastic rounding, slices.

#![cfg_attr(not(feature = "std"), no_std)]

mod dtype;
mod e8m0;
mod fp8;
pub mod layout;

pub use dtype::{DType, Element};
pub use e8m0::E8M0;
pub use fp8::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz, Fp8};
