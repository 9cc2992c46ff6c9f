//! What many ranks share: the mesh they stand in, and which of them owns which tensor.
//!
//! A [`Mesh`] gives every rank a place on named axes; a [`Partition`] gives every tensor an owner, whole, by one of
//! the [`PartitionRule`]s. Both are plain data, made before anything runs.
//!
//! ```
//! use fp8lm_parallel::{Axis, Mesh, PartitionRule};
//!
//! let mesh = Mesh::new(&[(Axis::Data, 3), (Axis::Tensor, 2)])?;
//! assert_eq!(mesh.ranks(), 6);
//! assert_eq!(mesh.group(3, Axis::Data)?, [1, 3, 5]);
//!
//! let partition = PartitionRule::Greedy.partition(&[1, 5, 3, 2], 2)?;
//! assert_eq!(partition.owners(), [0, 0, 1, 1]);
//! assert_eq!(partition.loads(), [6, 5]);
//! # Ok::<(), fp8lm_parallel::Error>(())
//! ```
//!
//! Limits: tensors are never split between owners; experts and contexts have no axis.

mod data;
mod error;
mod host;
mod mesh;
mod partition;
mod traffic;

pub use data::{DataOptions, DataParallel, Zero};
pub use error::{Error, Result};
pub use host::gather;
pub use mesh::{Axis, Coordinate, Mesh};
pub use partition::{Partition, PartitionRule};
pub use traffic::{FP8_GRADIENTS, GRADIENTS, SCALARS, WEIGHTS};
