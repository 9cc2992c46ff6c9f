//! Who owns which tensor: ZeRO by whole tensors (FP8-LM, section 2.3), a file for each rule.
//!
//! A tensor in FP8 is of use only beside its scale, so no tensor is cut: its owner has it whole, scale included.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

mod balanced;
mod greedy;
#[cfg(test)]
mod tests;

/// How owners are found. Both rules depend on sizes and their order alone: all ranks come to the same partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionRule {
    /// FP8-LM's Algorithm 1: the largest tensor first, each to the rank with the least so far; equal tensors in their
    /// order, equal ranks by the lowest number.
    #[default]
    Greedy,
    /// The same, then moves of one tensor and swaps of two from the rank with the most, or to the one with the least,
    /// for as long as they bring two ranks closer together.
    Balanced,
}

/// Tensors and their owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    owners: Vec<usize>,
    loads: Vec<u64>,
}

impl PartitionRule {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::Greedy, Self::Balanced];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Greedy => "greedy",
            Self::Balanced => "balanced",
        }
    }

    /// Shares tensors of these sizes out among `ranks`. If there are more ranks than tensors, some own none.
    pub fn partition(self, sizes: &[u64], ranks: usize) -> Result<Partition> {
        let tensors = sizes.len();
        if ranks == 0 {
            return Err(Error::NoRanks { tensors });
        }
        let sum = sizes.iter().try_fold(0u64, |sum, &size| sum.checked_add(size));
        sum.ok_or(Error::TooManyBytes { tensors })?;
        let owners = match self {
            Self::Greedy => greedy::owners(sizes, ranks),
            Self::Balanced => balanced::owners(sizes, ranks),
        };
        let loads = loads(&owners, sizes, ranks);
        Ok(Partition { owners, loads })
    }
}

impl fmt::Display for PartitionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Partition {
    /// The owner of each tensor.
    pub fn owners(&self) -> &[usize] {
        &self.owners
    }

    /// What each rank owns, in the unit of the sizes.
    pub fn loads(&self) -> &[u64] {
        &self.loads
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.loads.len()
    }

    /// The tensors of a rank, in their order.
    pub fn owned(&self, rank: usize) -> impl Iterator<Item = usize> {
        let tensors = self.owners.iter().enumerate();
        tensors.filter(move |(_, owner)| **owner == rank).map(|(tensor, _)| tensor)
    }

    /// The largest load less the smallest, over their mean; 0 if nobody owns anything.
    pub fn spread(&self) -> f64 {
        let (min, max) = (self.loads.iter().min(), self.loads.iter().max());
        let range = max.zip(min).map_or(0, |(max, min)| max - min);
        let sum: u64 = self.loads.iter().sum();
        if sum == 0 { 0.0 } else { range as f64 * self.loads.len() as f64 / sum as f64 }
    }
}

fn loads(owners: &[usize], sizes: &[u64], ranks: usize) -> Vec<u64> {
    let mut loads = vec![0; ranks];
    for (&owner, size) in owners.iter().zip(sizes) {
        loads[owner] += size;
    }
    loads
}
