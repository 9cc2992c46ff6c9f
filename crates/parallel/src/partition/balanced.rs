//! Algorithm 1, improved by local search.
//!
//! A trade gives a tensor of a richer rank to a poorer one, for a smaller tensor or for nothing. With loads `a > b` and
//! sizes that differ by `d`, it takes the loads to `a - d` and `b + d`, and the sum of their squares down by
//! `2 d (a - b - d)`: a trade is worth making if `0 < d < a - b`, and the search ends, since sums of squares are whole.

use std::collections::{BTreeMap, BTreeSet};

use super::{greedy, loads};

/// Each tensor's owner.
pub(super) fn owners(sizes: &[u64], ranks: usize) -> Vec<usize> {
    let owners = greedy::owners(sizes, ranks);
    let loads = loads(&owners, sizes, ranks);
    let mut holdings = vec![Holding::new(); ranks];
    for (tensor, &owner) in owners.iter().enumerate() {
        holdings[owner].entry(sizes[tensor]).or_default().insert(tensor);
    }
    let mut search = Search { sizes, owners, loads, holdings };
    while let Some(trade) = search.best() {
        search.make(trade);
    }
    search.owners
}

/// What a rank owns: tensors by size.
type Holding = BTreeMap<u64, BTreeSet<usize>>;

struct Search<'a> {
    sizes: &'a [u64],
    owners: Vec<usize>,
    loads: Vec<u64>,
    holdings: Vec<Holding>,
}

#[derive(Clone, Copy)]
struct Trade {
    rich: usize,
    poor: usize,
    /// The tensor that the richer rank gives.
    given: usize,
    /// The tensor that it takes for it.
    taken: Option<usize>,
    /// By how much they differ.
    difference: u64,
    /// Half of what the sum of squares falls by.
    gain: u128,
}

impl Search<'_> {
    /// The best trade of the richest rank with any other, or else of the poorest; the first of equals.
    fn best(&self) -> Option<Trade> {
        let ranks = 0..self.loads.len();
        let poorest = ranks.clone().min_by_key(|&rank| self.loads[rank])?;
        // Of equals `max_by_key` takes the last.
        let richest = ranks.clone().rev().max_by_key(|&rank| self.loads[rank])?;
        let trade = |(rich, poor)| self.trade(rich, poor);
        let by_richest = first_best(ranks.clone().map(|poor| (richest, poor)).filter_map(trade));
        by_richest.or_else(|| first_best(ranks.map(|rich| (rich, poorest)).filter_map(trade)))
    }

    /// The best trade between two ranks. Of equal tensors the first is traded.
    fn trade(&self, rich: usize, poor: usize) -> Option<Trade> {
        let gap = self.loads[rich].checked_sub(self.loads[poor])?;
        let first = |rank: usize| {
            self.holdings[rank]
                .iter()
                .filter_map(|(&size, tensors)| Some((size, *tensors.first()?)))
        };
        let trades = first(rich).flat_map(|(size, given)| {
            let takes = first(poor).map(|(size, taken)| (size, Some(taken)));
            takes.chain([(0, None)]).filter_map(move |(back, taken)| {
                let difference = size.checked_sub(back).filter(|&d| 0 < d && d < gap)?;
                let gain = u128::from(difference) * u128::from(gap - difference);
                Some(Trade { rich, poor, given, taken, difference, gain })
            })
        });
        first_best(trades)
    }

    fn make(&mut self, trade: Trade) {
        self.give(trade.given, trade.poor);
        if let Some(taken) = trade.taken {
            self.give(taken, trade.rich);
        }
        self.loads[trade.rich] -= trade.difference;
        self.loads[trade.poor] += trade.difference;
    }

    fn give(&mut self, tensor: usize, to: usize) {
        let (size, from) = (self.sizes[tensor], std::mem::replace(&mut self.owners[tensor], to));
        if let Some(tensors) = self.holdings[from].get_mut(&size) {
            tensors.remove(&tensor);
        }
        self.holdings[to].entry(size).or_default().insert(tensor);
    }
}

/// Of equals the first.
fn first_best(trades: impl Iterator<Item = Trade>) -> Option<Trade> {
    trades.reduce(|best, trade| if trade.gain > best.gain { trade } else { best })
}
