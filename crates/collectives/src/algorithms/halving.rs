//! Recursive halving and doubling, for any number of ranks.
//!
//! Let p be the largest power of two up to the number of ranks. Rank v + p gives all that it has to rank v, which
//! makes acc\[v\] = op(x\[v\], x\[v + p\]); ranks beyond p then only wait for the result. Among the others, for the
//! distances d = p/2, p/4, ..., 1, rank v keeps the half of its chunks in which chunk v lies, gives the other half to
//! rank v ^ d, and makes acc\[v\] = op(acc\[v\], acc\[v ^ d\]) of its half: the sum of a chunk is a balanced tree, the
//! farthest ranks first, each op rounded to its type. The chunks come back the same way.
//!
//! Of n elements in p chunks rank v < p sends n - |chunk v|, then what it holds before each doubling, that is
//! the chunks v with their last 0, 1, ..., log2(p) - 1 bits free, and n once more where there is a rank v + p, which
//! sends n.

use std::ops::Range;

use crate::{Place, Receive, Send, Step};

/// The largest power of two up to `size`: the ranks that halve, and the chunks of an all-reduce.
#[must_use]
pub fn core(size: usize) -> usize {
    1 << size.max(1).ilog2()
}

/// An all-reduce of [`core()`] chunks.
#[must_use]
pub fn steps(rank: usize, size: usize) -> Vec<Step> {
    let core = core(size);
    let all = || (0..core).collect::<Vec<_>>();
    if rank >= core {
        return vec![give(rank - core, all()), take(rank - core, all(), false)];
    }
    let mut steps = fold(rank, size, all());
    steps.extend(halve(rank, core, |held| held.collect()));
    steps.extend(double(rank, core));
    if rank + core < size {
        steps.push(give(rank + core, all()));
    }
    steps
}

/// A reduce-scatter of `size` chunks. Rank v halves for rank v + p too.
#[must_use]
pub fn reduce_scatter(rank: usize, size: usize) -> Vec<Step> {
    let core = core(size);
    if rank >= core {
        return vec![give(rank - core, (0..size).collect()), take(rank - core, vec![rank], false)];
    }
    let with_folded = |held: Range<usize>| {
        held.flat_map(|chunk| [chunk, chunk + core]).filter(|chunk| *chunk < size).collect()
    };
    let mut steps = fold(rank, size, (0..size).collect());
    steps.extend(halve(rank, core, with_folded));
    if rank + core < size {
        steps.push(give(rank + core, vec![rank + core]));
    }
    steps
}

/// Takes over what the rank beyond the core has, if there is one.
fn fold(rank: usize, size: usize, all: Vec<usize>) -> Vec<Step> {
    let extra = rank + core(size);
    if extra >= size {
        return Vec::new();
    }
    let combines = combine(&all);
    [take(extra, all, true)].into_iter().chain(combines).collect()
}

/// `chunks` tells which of them belong to a range of ranks.
fn halve(rank: usize, core: usize, chunks: impl Fn(Range<usize>) -> Vec<usize>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut distance = core / 2;
    while distance > 0 {
        let peer = rank ^ distance;
        let (kept, given) = (chunks(holds(rank, distance)), chunks(holds(peer, distance)));
        let combines = combine(&kept);
        steps.push(swap(peer, given, kept, true));
        steps.extend(combines);
        distance /= 2;
    }
    steps
}

fn double(rank: usize, core: usize) -> Vec<Step> {
    let distances = (0..core.ilog2()).map(|bit| 1 << bit);
    let swaps = distances.map(|distance| {
        let peer = rank ^ distance;
        let chunks = |rank| holds(rank, distance).collect();
        swap(peer, chunks(rank), chunks(peer), false)
    });
    swaps.collect()
}

/// The chunks that a rank holds once it has halved down to this distance.
fn holds(rank: usize, distance: usize) -> Range<usize> {
    let first = rank / distance * distance;
    first..first + distance
}

fn give(to: usize, chunks: Vec<usize>) -> Step {
    swap(to, chunks, Vec::new(), false)
}

fn take(from: usize, chunks: Vec<usize>, beside: bool) -> Step {
    swap(from, Vec::new(), chunks, beside)
}

/// Chunks to and from one rank, those that come over this rank's own, or beside them in slots.
fn swap(peer: usize, given: Vec<usize>, taken: Vec<usize>, beside: bool) -> Step {
    let place = |slot| if beside { Place::Slot(slot) } else { Place::Chunk };
    let sends = given.into_iter().map(|chunk| Send { to: peer, chunk }).collect();
    let receives = taken.into_iter().enumerate();
    let receives = receives.map(|(slot, chunk)| Receive { from: peer, chunk, into: place(slot) });
    Step::Exchange { sends, receives: receives.collect() }
}

fn combine(chunks: &[usize]) -> Vec<Step> {
    let chunks = chunks.iter().enumerate();
    chunks.map(|(slot, chunk)| Step::Combine { chunk: *chunk, slot }).collect()
}
