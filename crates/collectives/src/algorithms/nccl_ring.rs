//! Chunks go round a ring, rank r beside r + 1, and every rank adds its own, as NCCL does.
//!
//! For chunk c: acc = x\[c + 1\], then acc = op(x\[(c + k) mod ranks\], acc) for k = 2 to ranks, each rounded to its
//! type, so the sum ends on rank c. Rank r sends 2n - |chunk r| - |chunk (r + 1) mod ranks| of n elements; one rank,
//! nothing.

use crate::{Place, Receive, Send, Step};

/// An all-reduce of `size` chunks.
#[must_use]
pub fn steps(rank: usize, size: usize) -> Vec<Step> {
    let mut steps = reduce_scatter(rank, size);
    steps.extend(all_gather(rank, size));
    steps
}

/// A reduce-scatter, in which rank r sends all but chunk r.
#[must_use]
pub fn reduce_scatter(rank: usize, size: usize) -> Vec<Step> {
    let hops = (1..size).flat_map(|hop| {
        let (sent, received) = (before(rank, hop, size), before(rank, hop + 1, size));
        let combine = Step::Combine { chunk: received, slot: 0 };
        [pass(rank, size, sent, (received, Place::Slot(0))), combine]
    });
    hops.collect()
}

/// Chunk r, which is whole on rank r, goes on to all others.
#[must_use]
pub fn all_gather(rank: usize, size: usize) -> Vec<Step> {
    let hops = (1..size).map(|hop| {
        let (sent, received) = (before(rank, hop - 1, size), before(rank, hop, size));
        pass(rank, size, sent, (received, Place::Chunk))
    });
    hops.collect()
}

/// One chunk to the next rank, and one from the last.
fn pass(rank: usize, size: usize, sent: usize, (chunk, into): (usize, Place)) -> Step {
    let send = Send { to: (rank + 1) % size, chunk: sent };
    let receive = Receive { from: before(rank, 1, size), chunk, into };
    Step::Exchange { sends: vec![send], receives: vec![receive] }
}

/// The place `back` places before `rank` in the ring.
fn before(rank: usize, back: usize, size: usize) -> usize {
    (rank + 2 * size - back) % size
}
