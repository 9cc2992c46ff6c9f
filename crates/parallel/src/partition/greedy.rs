//! FP8-LM's Algorithm 1, known in scheduling as longest processing time first.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Each tensor's owner.
pub(super) fn owners(sizes: &[u64], ranks: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..sizes.len()).collect();
    order.sort_by_key(|&tensor| Reverse(sizes[tensor]));
    let mut owners = vec![0; sizes.len()];
    // The least load first, and of equals the lowest rank.
    let mut loads: BinaryHeap<_> = (0..ranks).map(|rank| Reverse((0, rank))).collect();
    for tensor in order {
        let Some(Reverse((load, owner))) = loads.pop() else { break };
        owners[tensor] = owner;
        loads.push(Reverse((load + sizes[tensor], owner)));
    }
    owners
}
