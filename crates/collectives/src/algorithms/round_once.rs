//! Every contribution to a chunk goes to the rank that owns it, which reduces all at once; then all get all chunks.
//!
//! Chunk c becomes x\[0\] + x\[1\] + ... + x\[ranks - 1\] from +0 in f32, rounded to its type once: no bit depends on
//! where a chunk begins. Rank r sends n + (ranks - 2) |chunk r| of n elements.

use super::all_gather;
use crate::{Place, Receive, Send, Step};

/// An all-reduce of `size` chunks.
#[must_use]
pub fn steps(rank: usize, size: usize) -> Vec<Step> {
    let mut steps = reduce_scatter(rank, size);
    steps.extend(all_gather::steps(rank, size, size));
    steps
}

/// A reduce-scatter, in which rank r sends all but chunk r.
#[must_use]
pub fn reduce_scatter(rank: usize, size: usize) -> Vec<Step> {
    let sends = (0..size).map(|to| Send { to, chunk: to });
    let receives = (0..size).map(|from| Receive { from, chunk: rank, into: Place::Slot(from) });
    let exchange = Step::Exchange { sends: sends.collect(), receives: receives.collect() };
    vec![exchange, Step::Reduce { chunk: rank }]
}
