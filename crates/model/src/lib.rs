//! A decoder-only GPT whose linears compute in FP8.
//!
//! [`Gpt`] is embedding, [`Block`]s, a norm and a head. Its backward pass is written out, and
//! gradients of inputs and of weights are separate calls. [`Linear`] is the trait behind which a
//! recipe's precision hides: the rest of the model does not know in which format it computes,
//! and knows no rank either.
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_device::{Label, Queue};
//! use fp8lm_model::{Gpt, ModelConfig};
//! use fp8lm_scaling::{Pass, recipe};
//!
//! let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
//! let config = ModelConfig { layers: 1, width: 16, heads: 2, context: 8, mlp: 32, ..Default::default() };
//! let mut gpt = Gpt::new(&queue, &config, &recipe("fp8lm-3")?, 42)?;
//!
//! let text = queue.upload(&[72u32, 101, 108, 108, 111], 5, Label("text"))?;
//! let logits = gpt.logits(&queue, &text)?;
//! assert_eq!(logits.shape(), [5, 256].into());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: no biases in linears, no dropout, rotary positions only.

mod attention;
mod block;
mod config;
mod error;
mod gpt;
mod init;
mod linear;
mod mlp;
mod norm;
mod recompute;
mod split;
mod stash;

pub use attention::Attention;
pub use block::Block;
pub use config::{Activation, ConfigError, ModelConfig, NormKind};
pub use error::{Error, Result};
pub use gpt::{Added, Build, Gpt, GptPending, GptStash, Part, Sequences};
pub use linear::{Fp8Linear, Kind, Linear, OutputGradient, PlainLinear};
pub use mlp::Mlp;
pub use norm::{Norm, NormPending, NormStash};
pub use recompute::Recompute;
pub use split::{Border, COLUMNS, Cut, ROWS, Split, TABLES};
pub use stash::{StashBytes, StashPlan};
