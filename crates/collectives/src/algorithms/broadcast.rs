//! One rank's chunk to all, down a binomial tree: in each round all ranks that have it pass it on.
//!
//! With ranks counted from the root, v has the children v + 2^j below the lowest set bit of v, or, of the root, below
//! the number of ranks; it sends them all it has.

use crate::{Send, Step};

/// A broadcast of one chunk from rank `root`.
#[must_use]
pub fn steps(rank: usize, size: usize, root: usize) -> Vec<Step> {
    let place = (rank + size - root) % size;
    let rank_at = |place: usize| (place + root) % size;
    let mut steps = Vec::new();
    if place > 0 {
        steps.push(Step::receive(rank_at(place & (place - 1)), 0));
    }
    let sends: Vec<_> =
        children(place, size).map(|to| Send { to: rank_at(to), chunk: 0 }).collect();
    if !sends.is_empty() {
        steps.push(Step::Exchange { sends, receives: Vec::new() });
    }
    steps
}

fn children(place: usize, size: usize) -> impl Iterator<Item = usize> {
    let bits = if place == 0 { usize::BITS - 1 } else { place.trailing_zeros() };
    (0..bits).map(move |bit| place + (1 << bit)).take_while(move |child| *child < size)
}
