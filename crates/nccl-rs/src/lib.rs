//! NCCL, loaded at run time: communicators, collectives, groups, FP8, errors instead of panics.
//!
//! [`Nccl`] is the loaded library. With it one rank makes a [`UniqueId`], sends it to the others by some
//! other way, and all join a [`Communicator`]. Its operations take device memory as raw pointers, a number
//! of [`Elements`] of a [`DataType`], a [`RedOp`], and a CUDA stream.
//!
//! ```
//! use nccl_rs::{Error, Nccl};
//!
//! match Nccl::load() {
//!     Ok(nccl) => println!("NCCL {}: {}", nccl.version(), nccl.unique_id()?),
//!     Err(error @ Error::Load { .. }) => println!("{error}"),
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! A sum over all ranks, with memory and stream from whatever binding to CUDA the program uses:
//!
//! ```no_run
//! # use std::ffi::c_void;
//! use nccl_rs::{Communicator, DataType, Elements, Nccl, RedOp, Result, UniqueId};
//!
//! /// # Safety
//! /// `gradients` holds 1024 `bf16` on the current GPU, and is left alone until the stream is done.
//! unsafe fn sum(rank: usize, id: UniqueId, gradients: *mut c_void, stream: *mut c_void) -> Result<()> {
//!     let nccl = Nccl::load()?;
//!     let communicator = Communicator::init_rank(&nccl, &id, 8, rank)?;
//!     let elements = Elements::new(1024, DataType::Bf16);
//!     // SAFETY: every rank does the same, on memory and a stream of its own.
//!     unsafe { communicator.all_reduce(stream, gradients, gradients, elements, RedOp::Sum) }?;
//!     communicator.destroy()
//! }
//! ```
//!
//! # Communicators that do not block
//! With [`Config::blocking`] off, calls return [`Status::InProgress`] instead of waiting, and
//! [`Communicator::async_error`] tells when the next may follow, or that a rank failed. A program can thus
//! bound every wait, and abort by dropping.
//!
//! # Limits
//! - Libraries from NCCL 2.7 on. What came later is an error that names the version
//!   ([`Error::TooOld`]): choices 2.14, finalizing 2.14, splitting 2.18; FP8 needs 2.24, which NCCL
//!   itself checks.
//! - Not covered: registered memory and windows, custom reductions, shrinking, several ids for one
//!   communicator, making the communicators of several GPUs in one group (start them from a thread each,
//!   or without blocking).
//! - Memory, streams and current devices are the caller's; so is the order of calls over all ranks.

#![deny(missing_docs)]

mod code;
mod collective;
mod communicator;
mod config;
mod data_type;
mod error;
mod functions;
mod group;
mod nccl;
mod red_op;
mod slot;
mod unique_id;
mod version;

pub use code::{ErrorCode, Status};
pub use communicator::Communicator;
pub use config::Config;
pub use data_type::{DataType, Elements};
pub use error::{Attempt, Error, Result};
pub use functions::Stream;
pub use nccl::Nccl;
pub use red_op::RedOp;
pub use unique_id::UniqueId;
pub use version::Version;

/// The README's example runs too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
