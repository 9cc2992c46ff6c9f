//! The emulator: a [`Device`](fp8lm_device::Device) on the CPU that computes, bit for bit, what
//! the table of kernels says.
//!
//! [`Emulator`] is the device; each kernel's twin stands under `twins/` in the file of its
//! family. Results depend neither on the number of threads nor on the instruction set.
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_device::{DType, Label, Launch, Queue};
//! use fp8lm_sim::Emulator;
//!
//! let queue = Queue::new(Arc::new(Emulator::default()))?;
//! let y = queue.alloc(DType::F32, 4, Label("example"))?;
//! queue.launch(Launch::new("fill").write(&y).f32(1.5))?;
//! assert_eq!(queue.download::<f32>(&y)?, [1.5; 4]);
//! # Ok::<(), fp8lm_device::Error>(())
//! ```
//!
//! Limits: a launch runs before the call returns, so streams never overlap; one launch at a time
//! runs on a device, and uses all of its threads.

mod args;
mod bound;
mod elementwise;
mod emulator;
mod floats;
mod groups;
#[cfg(target_arch = "x86_64")]
mod lanes;
pub mod math;
mod memory;
pub mod mma;
mod reduce;
mod scale;
mod scratch;
mod states;
mod streams;
mod tally;
mod transpose;
mod twins;
mod workers;
mod world;

pub use bound::Bound;
pub use emulator::{Emulator, Options};
pub use fp8lm_formats::Isa;
pub use streams::Adversarial;
pub use world::{Fault, Rank, RunError, Sent, Streams, World, WorldOptions};
