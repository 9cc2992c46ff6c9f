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
//! A [`World`] runs ranks as threads, each with a device and an end of a [`Link`](fp8lm_device::Link). What one of them
//! fails of, all fail of at once, with one error: a rank's own, a deadlock, a time-out, messages that do not fit.
//!
//! ```
//! use fp8lm_device::{DType, Label, Queue, Tag, Transfer};
//! use fp8lm_sim::{Emulator, World, WorldOptions};
//!
//! let options = WorldOptions { ranks: 3, ..WorldOptions::default() };
//! let world = World::new(&Emulator::default(), options);
//! let received = world.run(|rank| {
//!     let queue = Queue::new(rank.device)?;
//!     let (own, size) = (rank.link.rank(), rank.link.size());
//!     let x = queue.upload(&[own as f32], 1, Label("example"))?;
//!     let y = queue.alloc(DType::F32, 1, Label("example"))?;
//!     let tag =
//!         Tag { operation: "shift", reduction: None, dtype: DType::F32, elements: None, number: 0 };
//!     let send = Transfer::Send { peer: (own + 1) % size, from: x.view().clone() };
//!     let receive = Transfer::Receive { peer: (own + size - 1) % size, to: y.view().clone() };
//!     rank.link.exchange(queue.stream(), tag, &[send, receive])?;
//!     queue.download::<f32>(&y)
//! })?;
//! assert_eq!(received, [[2.0], [0.0], [1.0]]);
//! assert_eq!(world.sent_by(0).bytes, 4);
//! # Ok::<(), fp8lm_sim::RunError<fp8lm_device::Error>>(())
//! ```
//!
//! [`Adversarial`] is an emulator whose streams run as late as events allow, in an order that a seed chooses, alone or
//! under each rank of a world ([`Streams`]). A test that passes on it for many seeds forgot no wait.
//!
//! Limits: on an [`Emulator`] a launch runs before the call returns, so streams never overlap; one launch at a time
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
