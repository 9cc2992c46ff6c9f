//! The CUDA kernels on the CPU: a [`Device`](fp8lm_device::Device) for tests.
//!
//! [`HostKernels`] compiles every `.cu` file of the project with the machine's C++ compiler, through a shim that
//! stands for CUDA, and runs launches with what came out. So the logic of a kernel is tested without a GPU, bit for bit
//! against its twin in the emulator. Memory and streams are the emulator's, and so are the matrix products that a GPU
//! leaves to a library.
//!
//! ```no_run
//! use std::sync::Arc;
//! use fp8lm_device::Queue;
//! use fp8lm_host::{HostKernels, Options};
//!
//! let queue = Queue::new(Arc::new(HostKernels::new(&Options::default())?))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: it needs a C++17 compiler that knows GCC's extensions (`c++`, or what [`Options`] names) and an x86-64 or
//! AArch64 processor; it is much slower than the emulator.

mod compile;
mod device;
mod error;
mod exact;
mod library;

pub use compile::{Options, Sanitizer, library};
pub use device::HostKernels;
pub use error::Error;
