//! Holds one device against another, kernel by kernel, bit by bit.
//!
//! A [`Case`] is one launch with its inputs, or several that are enqueued at once: ordinary values, ragged shapes,
//! tiny, huge and subnormal numbers, NaN and infinities. [`run`] computes each on two devices and tells of the first
//! element that differs. The cases of a family of kernels stand in the file of its name under `families/`.
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_conformance::{cases, run};
//! use fp8lm_device::Queue;
//! use fp8lm_sim::Emulator;
//!
//! let queue = || Queue::new(Arc::new(Emulator::default()));
//! let scale = cases().into_iter().filter(|case| case.kernel() == "scale");
//! let report = run(&queue()?, &queue()?, scale);
//! assert!(report.passed() > 0 && report.failures().is_empty());
//! # Ok::<(), fp8lm_device::Error>(())
//! ```
//!
//! Limits: inputs are small, and made from fixed seeds; a case that passes says nothing of other shapes.

mod case;
mod compare;
mod families;
mod large;
mod values;

pub use case::{Argument, Case};
pub use compare::{Failure, Report, differences, run};
pub use families::cases;
pub use large::{Prepared, products, streaming};
pub use values::{Data, Values};
