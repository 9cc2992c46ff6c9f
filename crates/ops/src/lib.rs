//! Checked operations: functions that turn tensors into launches.
//!
//! This is the border at which shapes are checked, and the only place that builds launches.
//! Every function takes a [`Queue`](fp8lm_device::Queue) first and enqueues its work there.
//! Functions that return tensors allocate them under [`ACTIVATIONS`]; the others write into the
//! tensors they are handed. The arithmetic of each stands in the table of kernels, under the
//! kernel's name. What takes more than tensors takes small structs of data: [`Heads`], [`Layout`],
//! [`RopeTables`], [`ScaleRule`], [`AdamW`].
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_device::{Label, Queue};
//! use fp8lm_ops as ops;
//!
//! let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
//! let a = queue.upload(&[1.0f32, 2.0], 2, Label("example"))?;
//! let y = ops::add(&queue, &a, &a)?;
//! assert_eq!(queue.download::<f32>(&y)?, [2.0, 4.0]);
//! # Ok::<(), fp8lm_device::Error>(())
//! ```
//!
//! Limits: nothing broadcasts; products are of two matrices, not of batches; attention is causal,
//! with as many heads for keys as for queries.

mod activation;
mod adamw;
mod agree;
mod attention;
mod blocks;
mod cast;
mod cross_entropy;
mod embedding;
mod expect;
mod gemm;
mod gradient;
mod groups;
mod norm;
mod quantize;
mod ranks;
mod reduce;
mod rope;
mod scale;
mod share;
mod stochastic;

pub use activation::*;
pub use adamw::*;
pub use agree::*;
pub use attention::*;
pub use blocks::*;
pub use cast::*;
pub use cross_entropy::*;
pub use embedding::*;
pub use gemm::*;
pub use gradient::*;
pub use groups::*;
pub use norm::*;
pub use quantize::*;
pub use ranks::*;
pub use reduce::*;
pub use rope::*;
pub use scale::*;
pub use share::*;
pub use stochastic::*;

pub use fp8lm_device::Reduction;

use fp8lm_device::Label;

/// The label of what operations return: activations and their gradients.
pub const ACTIVATIONS: Label = Label("activations");
