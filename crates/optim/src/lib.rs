//! AdamW with every state in its own format (FP8-LM, section 2.2).
//!
//! [`AdamW`] steps any set of [`Parameter`](fp8lm_scaling::Parameter)s: it clips by the global
//! norm, which FP8 gradients take part in, skips a step in which a gradient is not finite, and
//! keeps each moment in the format that the parameter's recipe names. Of many ranks each steps what it owns
//! ([`AdamW::over`]); shards of a tensor share their scales. [`Schedule`] gives the learning rate of a step.
//!
//! Stepping parameters of one's own, with FP8 first and FP16 second moments:
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_device::{Alone, Collectives, Label, Queue};
//! use fp8lm_optim::{AdamW, Options};
//! use fp8lm_scaling::{LINEAR, Noise, Parameter, ParameterSpec, Shard, recipe};
//!
//! let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
//! let spec = ParameterSpec {
//!     name: "w".into(),
//!     shape: [2, 2].into(),
//!     shard: Shard::WHOLE,
//!     precision: recipe("fp8lm-2").expect("a recipe").linears,
//!     labels: &LINEAR,
//!     decays: true,
//!     noise: Noise::default(),
//! };
//! let alone: Arc<dyn Collectives> = Arc::new(Alone);
//! let mut w = Parameter::new(&queue, spec, &alone, &[1.0, -1.0, 0.5, 2.0])?;
//! let mut adamw = AdamW::new(&queue, Options::default(), &[&w])?;
//!
//! w.gradient_mut().begin(&queue)?;
//! w.gradient_mut().add(&queue, queue.upload(&[0.1f32, 0.2, -0.3, 0.4], [2, 2], Label("dw"))?)?;
//! let outcome = adamw.step(&queue, &mut [&mut w], 1e-3)?;
//! assert!(!outcome.read(&queue)?.skipped);
//! # Ok::<(), fp8lm_device::Error>(())
//! ```
//!
//! Limits: AdamW alone.

mod adamw;
mod clip;
mod schedule;

pub use adamw::{AdamW, Moments, Options};
pub use clip::{Outcome, Slot, StepReading};
pub use schedule::Schedule;
