//! What can be wrong with a call, before any rank waits for another.

use fp8lm_device::{DType, Reduction};

use crate::Algorithm;

/// A call that no group of ranks can carry out. Collectives return it inside of a
/// [device error](fp8lm_device::Error::Failed).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Values of this type cannot be reduced like that.
    #[error("the {reduction} of {dtype} is none that ranks can compute")]
    Unsupported {
        /// The reduction.
        reduction: Reduction,
        /// The type.
        dtype: DType,
    },
    /// FP8 would be summed by hops over more ranks than the group allows.
    #[error(
        "{algorithm} would round a sum of {dtype} at every one of {ranks} ranks: at most {most} are allowed, unless the \
         group is told more; round-once rounds once over any number"
    )]
    Fp8Ring {
        /// How the group reduces.
        algorithm: Algorithm,
        /// The type.
        dtype: DType,
        /// The number of ranks.
        ranks: usize,
        /// The most that are allowed.
        most: usize,
    },
    /// There is not one view for each rank, or several for each.
    #[error("{views} views are not the same number for each of {ranks} ranks")]
    Views {
        /// The number of views.
        views: usize,
        /// The number of ranks.
        ranks: usize,
    },
    /// What is sent and what is received are not as many.
    #[error("{sends} views to send, and {receives} to receive into")]
    Sides {
        /// Views to send.
        sends: usize,
        /// Views to receive into.
        receives: usize,
    },
    /// Views of one call hold different types.
    #[error("views of {first} and of {other} in one call")]
    Types {
        /// The type of the first view.
        first: DType,
        /// The other type.
        other: DType,
    },
    /// There is no such rank.
    #[error("rank {rank} is none of {ranks}")]
    Rank {
        /// The rank.
        rank: usize,
        /// The number of ranks.
        ranks: usize,
    },
    /// No algorithm has this name.
    #[error("algorithm `{name}`: expected round-once, nccl-ring, nccl-tree or halving-doubling")]
    Algorithm {
        /// The name.
        name: String,
    },
    /// A tree is for another number of ranks.
    #[error("a tree of {tree} ranks for {ranks} ranks")]
    Tree {
        /// Ranks of the tree.
        tree: usize,
        /// Ranks of the group.
        ranks: usize,
    },
    /// Every rank of a tree has a parent.
    #[error("a tree without a root")]
    NoRoot,
    /// Two ranks of a tree have no parent.
    #[error("ranks {} and {} are both the root of a tree", ranks[0], ranks[1])]
    Roots {
        /// The first two.
        ranks: [usize; 2],
    },
    /// The parent of a rank does not exist.
    #[error("rank {rank} of {ranks} has the parent {parent}")]
    Parent {
        /// The rank.
        rank: usize,
        /// Its parent.
        parent: usize,
        /// The number of ranks.
        ranks: usize,
    },
    /// A rank of a tree is above itself, or below one that is.
    #[error("the way up from rank {rank} has no end")]
    Cycle {
        /// The first such rank.
        rank: usize,
    },
}

impl Error {
    /// As an error of the operation that was called.
    pub(crate) fn of(self, operation: &'static str) -> fp8lm_device::Error {
        fp8lm_device::Error::Failed { operation, source: Box::new(self) }
    }
}
