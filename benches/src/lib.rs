//! What the benchmarks share: the peaks of a machine, which results are held against.

pub mod limit;
pub mod pages;
pub mod peak;
