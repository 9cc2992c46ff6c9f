//! What is kept in which format, with which scale.
//!
//! A [`Recipe`] is data: the formats of matrix multiplications, working weights, gradients,
//! master weights and optimizer states, and how their scales are chosen. [`recipe`] finds one by
//! name. The rest of the crate carries a recipe out on any device:
//!
//! - [`Quantizer`] casts tensors to FP8 with a just-in-time or a delayed scale, or scales of tiles,
//! - [`Stored`] keeps a tensor in a format with a scale,
//! - [`Gradient`] sums micro-batches and keeps the result in FP8 with automatic scaling,
//! - [`Parameter`] is a weight: master, working copy and gradient,
//! - [`Shard`] says which part of a tensor a rank has, where several share it.
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_device::{DType, Label, Queue};
//! use fp8lm_formats::E4M3;
//! use fp8lm_ops::ScaleRule;
//! use fp8lm_scaling::{Cast, Pass, Quantizer, Scaling};
//!
//! let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
//! let x = queue.upload(&[0.5f32, -3.0, 7.0], [1, 3], Label("example"))?;
//!
//! let cast = Cast::tensor(DType::E4M3, Scaling::JustInTime, ScaleRule::Pow2);
//! let mut quantizer = Quantizer::new(&queue, cast)?;
//! let quantized = quantizer.quantize(&queue, &x, Pass::Train)?;
//!
//! // 448 / 7 = 64, a power of two already.
//! assert_eq!(queue.download::<f32>(&quantized.scale_inv)?, [1.0 / 64.0]);
//! let codes = queue.download::<E4M3>(&quantized.values)?;
//! assert_eq!(codes, [32.0, -192.0, 448.0].map(E4M3::from_f32_saturating));
//! # Ok::<(), fp8lm_device::Error>(())
//! ```
//!
//! Limits: tiles and blocks are scaled just in time, and are for the operands of linears alone.

mod casts;
mod format;
mod gradient;
mod gradient_cast;
mod labels;
mod meter;
mod parameter;
mod quantizer;
mod recipe;
mod recipes;
mod shard;
mod stored;
mod tree;
mod wire;

pub use casts::{Cast, Casts, Columns, Gemm, Granularity, Scaling, Source};
pub use format::{Format, ParseFormatError};
pub use fp8lm_ops::{Noise, ScaleRule};
pub use gradient::{Gradient, Share, Unreduced};
pub use gradient_cast::GradientCast;
pub use labels::{GRADIENTS, LINEAR, Labels, REST, SCALARS, SCALES};
pub use meter::{Meter, Reading};
pub use parameter::{Parameter, ParameterSpec};
pub use quantizer::{Pass, Quantizer, Scaled};
pub use recipe::{
    Accumulation, GradientFormat, HeadRoom, Linear, Override, Precision, Recipe, RecipeError,
    Rounded,
};
pub use recipes::{NAMES, recipe};
pub use shard::Shard;
pub use stored::Stored;
pub use tree::TreeSum;
pub use wire::{Wire, WireFormat};
