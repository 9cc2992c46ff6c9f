//! FP8 and E8M0 number formats: exact casts, saturation, stochastic rounding, slices.
//!
//! [`E4M3`] and [`E5M2`] are the two formats of the OCP 8-bit floating-point specification, which FP8 training runs
//! on; [`E4M3Fnuz`] and [`E5M2Fnuz`] their variants without a negative zero; [`E8M0`] the power-of-two scale of the
//! OCP microscaling specification; [`E5M6`] twelve bits for activations that are stored. The four FP8 types are one
//! generic type, [`Fp8`], in four [`layout`]s.
//!
//! ```
//! use fp8lm_formats::{E4M3, Overflow};
//!
//! // One value: nearest-even, and either the largest value or NaN where 448 does not reach.
//! assert_eq!(E4M3::from_f32_saturating(1000.0), E4M3::MAX);
//! assert!(E4M3::from_f32_nonsaturating(1000.0).is_nan());
//!
//! // A slice, scaled so that its largest magnitude becomes the largest value.
//! let x = [0.1, -3.0, 7.0];
//! let scale = E4M3::MAX_F32 / 7.0;
//! let mut codes = [E4M3::ZERO; 3];
//! E4M3::encode_slice(&x, scale, &mut codes, Overflow::Saturate);
//!
//! let mut decoded = [0.0; 3];
//! E4M3::decode_slice(&codes, 1.0 / scale, &mut decoded);
//! assert_eq!(decoded, [0.1015625, -3.0, 7.0]);
//! ```
//!
//! # Numerics
//! A cast into FP8 rounds once, straight from its source type. [`Overflow`] tells what happens beyond the largest
//! value; [`Overflow::Saturate`] gives the bits of PTX `cvt.rn.satfinite`. A cast out of FP8 is exact and gives one
//! NaN, `0x7FFF_FFFF` as an `f32`. Stochastic rounding takes its random words from the caller or from [`philox`].
//!
//! # Limits
//! There is no arithmetic: FP8 is for storing, multiplying happens in wider formats.
//!
//! # Features
//! `std` (default) lets [`Isa`] find the processor's instruction sets, and `half` use its conversions; `float8` adds
//! `From` both ways with the types of that crate; `serde` writes every value as its code. Features only add.

#![cfg_attr(not(feature = "std"), no_std)]

mod decode;
mod dtype;
mod e5m6;
mod e8m0;
mod encode;
#[cfg(feature = "float8")]
mod float8;
mod fp8;
mod isa;
pub mod layout;
pub mod philox;
#[cfg(feature = "serde")]
mod serde;
mod simd;
mod slice;

pub use dtype::{DType, Element};
pub use e5m6::E5M6;
pub use e8m0::E8M0;
pub use encode::Overflow;
pub use fp8::{E4M3, E4M3Fnuz, E5M2, E5M2Fnuz, Fp8};
pub use isa::Isa;
pub use simd::Runs;

/// The README's example runs too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
