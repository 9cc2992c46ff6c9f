//! FP8-LM's Algorithm 1, known in scheduling as longest processing time first.

use std::cmp::Reverse;

/// Each tensor's owner. `ranks` is not 0.
pub(super) fn owners(sizes: &[u64], ranks: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..sizes.len()).collect();
    order.sort_by_key(|&tensor| Reverse(sizes[tensor]));
    let (mut owners, mut loads) = (vec![0; sizes.len()], vec![0; ranks]);
    for tensor in order {
        let owner = least(&loads);
        owners[tensor] = owner;
        loads[owner] += sizes[tensor];
    }
    owners
}

/// The first of the smallest.
fn least(loads: &[u64]) -> usize {
    (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0)
}
