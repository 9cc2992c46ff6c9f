//! Collectives as lists of steps, a file for each way to reduce.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Step, Tree};

pub mod all_gather;
pub mod all_to_all;
pub mod broadcast;
pub mod halving;
pub mod nccl_ring;
pub mod nccl_tree;
pub mod round_once;

#[cfg(test)]
mod tests;

/// A way to reduce over ranks. In f32, F16, BF16 and FP8 it decides what is rounded when, and so the bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// One rounding, over ranks ascending: [`round_once`].
    #[default]
    RoundOnce,
    /// NCCL's ring, rank r beside r + 1: [`nccl_ring`].
    NcclRing,
    /// NCCL's tree, the children of i being 2i + 1 and 2i + 2: [`nccl_tree`].
    NcclTree,
    /// Halves with ever nearer ranks, and back: [`halving`].
    HalvingDoubling,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] =
        [Self::RoundOnce, Self::NcclRing, Self::NcclTree, Self::HalvingDoubling];

    /// The name, as configurations spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundOnce => "round-once",
            Self::NcclRing => "nccl-ring",
            Self::NcclTree => "nccl-tree",
            Self::HalvingDoubling => "halving-doubling",
        }
    }

    /// How many chunks an all-reduce of `size` ranks cuts its elements into, as [`chunks`](crate::chunks) does.
    #[must_use]
    pub fn chunks(self, size: usize) -> usize {
        match self {
            Self::RoundOnce | Self::NcclRing => size,
            Self::NcclTree => 1,
            Self::HalvingDoubling => halving::core(size),
        }
    }

    /// An all-reduce, as one of `size` ranks does it.
    #[must_use]
    pub fn all_reduce(self, rank: usize, size: usize) -> Vec<Step> {
        match self {
            Self::RoundOnce => round_once::steps(rank, size),
            Self::NcclRing => nccl_ring::steps(rank, size),
            Self::NcclTree => nccl_tree::steps(rank, &Tree::binary(size)),
            Self::HalvingDoubling => halving::steps(rank, size),
        }
    }

    /// A reduce-scatter, as one of `size` ranks does it: chunk r, of any length, is for rank r. A tree has none, and
    /// takes the ring's, as NCCL does.
    #[must_use]
    pub fn reduce_scatter(self, rank: usize, size: usize) -> Vec<Step> {
        match self {
            Self::RoundOnce => round_once::reduce_scatter(rank, size),
            Self::NcclRing | Self::NcclTree => nccl_ring::reduce_scatter(rank, size),
            Self::HalvingDoubling => halving::reduce_scatter(rank, size),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| Error::Algorithm { name: name.to_owned() })
    }
}
