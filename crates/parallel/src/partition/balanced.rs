//! Algorithm 1, improved by local search.
//!
//! A trade gives a tensor of a richer rank to a poorer one, for a smaller tensor or for nothing. With loads `a > b` and
//! sizes that differ by `d`, it takes the loads to `a - d` and `b + d`, and the sum of their squares down by
//! `2 d (a - b - d)`: a trade is worth making if `0 < d < a - b`, and the search ends, since sums of squares are whole.

use std::collections::BTreeMap;

use super::{greedy, loads};

/// Each tensor's owner. `ranks` is not 0.
pub(super) fn owners(sizes: &[u64], ranks: usize) -> Vec<usize> {
    let owners = greedy::owners(sizes, ranks);
    let loads = loads(&owners, sizes, ranks);
    let mut search = Search { sizes, owners, loads };
    while let Some(trade) = search.best() {
        search.make(trade);
    }
    search.owners
}

struct Search<'a> {
    sizes: &'a [u64],
    owners: Vec<usize>,
    loads: Vec<u64>,
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
        let holdings: Vec<_> = ranks.clone().map(|rank| self.holding(rank)).collect();
        let trade = |(rich, poor)| self.trade(rich, poor, &holdings);
        let by_richest = first_best(ranks.clone().map(|poor| (richest, poor)).filter_map(trade));
        by_richest.or_else(|| first_best(ranks.map(|rich| (rich, poorest)).filter_map(trade)))
    }

    /// The sizes of what a rank owns, and the first tensor of each size.
    fn holding(&self, rank: usize) -> BTreeMap<u64, usize> {
        let mut holding = BTreeMap::new();
        let tensors = self.owners.iter().enumerate().filter(|(_, owner)| **owner == rank);
        for (tensor, _) in tensors {
            holding.entry(self.sizes[tensor]).or_insert(tensor);
        }
        holding
    }

    /// The best trade between two ranks.
    fn trade(&self, rich: usize, poor: usize, holdings: &[BTreeMap<u64, usize>]) -> Option<Trade> {
        let gap = self.loads[rich].checked_sub(self.loads[poor])?;
        let offers = holdings[rich].iter();
        let trades = offers.flat_map(|(&size, &given)| {
            let takes = holdings[poor].iter().map(|(&size, &taken)| (size, Some(taken)));
            takes.chain([(0, None)]).filter_map(move |(back, taken)| {
                let difference = size.checked_sub(back).filter(|&d| 0 < d && d < gap)?;
                let gain = u128::from(difference) * u128::from(gap - difference);
                Some(Trade { rich, poor, given, taken, difference, gain })
            })
        });
        first_best(trades)
    }

    fn make(&mut self, trade: Trade) {
        self.owners[trade.given] = trade.poor;
        if let Some(taken) = trade.taken {
            self.owners[taken] = trade.rich;
        }
        self.loads[trade.rich] -= trade.difference;
        self.loads[trade.poor] += trade.difference;
    }
}

/// Of equals the first.
fn first_best(trades: impl Iterator<Item = Trade>) -> Option<Trade> {
    trades.reduce(|best, trade| if trade.gain > best.gain { trade } else { best })
}
