//! What can be wrong with a mesh, a partition or a pipeline.

use crate::{Axis, Schedule, Task, Wait};

/// The result of an operation on ranks.
pub type Result<T> = std::result::Result<T, Error>;

/// A mesh, a partition or a pipeline that cannot be.
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
    /// A name that no schedule has.
    #[error("no schedule `{name}`: expected one of {}", Schedule::ALL.map(Schedule::name).join(", "))]
    NoSuchSchedule {
        /// The name.
        name: String,
    },
    /// Less of something than a schedule takes.
    #[error("{key} = {got}: schedule {schedule} takes at least {least}")]
    TooFew {
        /// The schedule.
        schedule: Schedule,
        /// The key of a configuration that says how much there is.
        key: &'static str,
        /// How much there is.
        got: usize,
        /// What it takes.
        least: usize,
    },
    /// A number that a schedule cannot share out.
    #[error("{key} = {got}: schedule {schedule} takes multiples of {of}, such as {}", got.checked_next_multiple_of(*of).unwrap_or(*of))]
    NotAMultiple {
        /// The schedule.
        schedule: Schedule,
        /// The key of a configuration that gives the number.
        key: &'static str,
        /// The number.
        got: usize,
        /// What it must be a multiple of.
        of: usize,
    },
    /// Chunks for a schedule that knows its own.
    #[error(
        "parallel.chunks = {chunks}: schedule {schedule} takes 1; `interleaved` alone takes more"
    )]
    ChunksNotTaken {
        /// The schedule.
        schedule: Schedule,
        /// The chunks.
        chunks: usize,
    },
    /// Ranks of a pipeline that wait for one another.
    #[error("a pipeline comes to a halt: {}", waits.iter().map(Wait::to_string).collect::<Vec<_>>().join("; "))]
    Deadlock {
        /// Every rank that has not come to its end.
        waits: Vec<Wait>,
    },
    /// A program for another number of ranks.
    #[error("a program of {program} ranks in a pipeline of {ranks}")]
    ProgramRanks {
        /// Ranks of the program.
        program: usize,
        /// Ranks of the pipeline.
        ranks: usize,
    },
    /// A rank with more or fewer stages than its program has chunks.
    #[error("rank {rank} of a pipeline has {chunks} stages, got {stages}")]
    Stages {
        /// The rank.
        rank: usize,
        /// The stages that it has in the program.
        chunks: usize,
        /// Those that it came with.
        stages: usize,
    },
    /// A stage that returned nothing where another waits for it, or something that nobody takes.
    #[error("rank {rank} of a pipeline, {task}: expected {}", if *is_due { "a result, got none" } else { "no result, got one" })]
    Result {
        /// The rank.
        rank: usize,
        /// What it did.
        task: Task,
        /// Whether there should have been a result.
        is_due: bool,
    },
    /// A task whose input no rank sends.
    #[error("a pipeline, {task}: rank {from} has nothing more to send")]
    NotSent {
        /// The rank that should send it.
        from: usize,
        /// The task.
        task: Task,
    },
}

impl Error {
    /// As an error of the operation that was called.
    pub(crate) fn of(self, operation: &'static str) -> fp8lm_device::Error {
        fp8lm_device::Error::Failed { operation, source: Box::new(self) }
    }
}

fn product(extents: &[usize; 3]) -> String {
    extents.map(|extent| extent.to_string()).join(" x ")
}
