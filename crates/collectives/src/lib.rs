//! What the ranks of a group do together, composed from transfers between them.
//!
//! A collective is a list of [`Step`]s for each rank, made by a pure function in [`algorithms`]: data that can be
//! printed, and played through without any rank. [`Composed`] carries steps out over any [`Link`](fp8lm_device::Link),
//! and counts the bytes that leave its rank. [`Algorithm`] says how values are reduced, and with that which bits come
//! out; `docs/numerics.md` has the order of every operation.
//!
//! [`reduce_codes`] sums gradients that are FP8 codes under one scale. It uses [`Collectives`] and kernels alone, so it
//! works over any implementation. [`Channel`] is for what goes from one rank to another.
//!
//! ```
//! use fp8lm_collectives::{Algorithm, Collectives, Composed};
//! use fp8lm_device::{Label, Queue, Reduction, Result};
//! use fp8lm_sim::{Emulator, World, WorldOptions};
//!
//! let world = World::new(&Emulator::default(), WorldOptions { ranks: 3, ..Default::default() });
//! let sums = world.run(|rank| -> Result<_> {
//!     let queue = Queue::new(rank.device)?;
//!     let group = Composed::new(rank.link, &queue, Algorithm::NcclRing)?;
//!
//!     let x = queue.upload(&[group.rank() as f32, 1.0], 2, Label("example"))?;
//!     group.all_reduce(&queue, x.view(), Reduction::Sum)?.wait(&queue)?;
//!     queue.download::<f32>(&x)
//! });
//! assert_eq!(sums.unwrap(), [[3.0, 3.0]; 3]);
//! ```
//!
//! # Limits
//! Reductions are of F32, BF16, F16, E4M3 and E5M2, and sums also of U64; all else moves values of any type. All views
//! of a call are of one type. FP8 is summed by hops over [`FP8_RING_RANKS`] at most, unless a group is told otherwise.
//! A tree takes a tensor whole, without chunks that follow one another.

pub mod algorithms;
mod books;
mod channel;
mod composed;
mod error;
mod execute;
mod fp8;
mod rescaled;
mod step;
mod tree;

pub use algorithms::Algorithm;
pub use books::Traffic;
pub use channel::Channel;
pub use composed::{Composed, FP8_RING_RANKS};
pub use error::Error;
pub use fp8::{Codes, Rounding, reduce_codes, reduce_codes_of_shards};
pub use fp8lm_device::{Alone, Collectives};
pub use rescaled::{Owner, Shared, agree_amaxes, reduce_rescaled};
pub use step::{Place, Receive, Send, Step, chunks};
pub use tree::Tree;

/// The README's example runs too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
