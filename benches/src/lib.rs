//! What the benchmarks share: the peaks of a machine, which results are held against, and the
//! time of each kernel.

pub mod limit;
pub mod pages;
pub mod peak;
pub mod timed;
