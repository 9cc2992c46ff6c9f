//! What can be wrong with a mesh or a partition.

use crate::Axis;

/// The result of an operation on ranks.
pub type Result<T> = std::result::Result<T, Error>;

/// A mesh or a partition that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An axis without ranks.
    #[error("the {axis} axis of a mesh: expected at least 1 rank, got 0")]
    EmptyAxis {
        /// The axis.
        axis: Axis,
    },
    /// An axis that is named twice.
    #[error("the {axis} axis of a mesh is named twice")]
    RepeatedAxis {
        /// The axis.
        axis: Axis,
    },
    /// More ranks than can be counted.
    #[error("a mesh of {} ranks has more than can be counted", product(extents))]
    TooManyRanks {
        /// Ranks along each axis, the outermost first.
        extents: [usize; 3],
    },
    /// A rank outside the group.
    #[error("rank {rank} is not among {ranks} ranks, counted from 0")]
    NoSuchRank {
        /// The rank.
        rank: usize,
        /// How many there are.
        ranks: usize,
    },
    /// A place outside the mesh.
    #[error("place {index} of the {axis} axis is not among its {size} ranks, counted from 0")]
    NoSuchPlace {
        /// The axis.
        axis: Axis,
        /// The place along it.
        index: usize,
        /// How many ranks it has.
        size: usize,
    },
    /// A partition among nobody.
    #[error("{tensors} tensors need at least 1 rank to own them, got 0")]
    NoRanks {
        /// How many tensors there are.
        tensors: usize,
    },
    /// More bytes than can be counted.
    #[error("{tensors} tensors have more bytes in all than can be counted")]
    TooManyBytes {
        /// How many tensors there are.
        tensors: usize,
    },
}

fn product(extents: &[usize; 3]) -> String {
    extents.map(|extent| extent.to_string()).join(" x ")
}
