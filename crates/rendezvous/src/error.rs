//! What can go wrong, from the launcher's variables to the end of the store.

use crate::{Address, Peer, Ranks, Refusals};

/// The result of every call.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the launcher's variables, of meeting, or of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One variable of a launcher is set, and another that goes with it is not.
    #[error("the variable {variable} is not set, though {given} is")]
    Unset {
        /// What is not set.
        variable: &'static str,
        /// What is.
        given: &'static str,
    },
    /// A variable has a value that means nothing.
    #[error("the variable {variable} is {value:?}: expected {expected}")]
    Invalid {
        /// The variable.
        variable: &'static str,
        /// Its value, cut after some hundred characters.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A number is not below its bound.
    #[error(
        "the variable {variable} is {value}: expected less than {bound}, the value of {bound_variable}"
    )]
    Beyond {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: usize,
        /// The variable of the bound.
        bound_variable: &'static str,
        /// The bound.
        bound: usize,
    },
    /// A list of hosts cannot be read.
    #[error("the list of hosts {list:?}: {problem} at byte {byte}")]
    HostList {
        /// The list, cut after some hundred characters.
        list: String,
        /// Where the problem is.
        byte: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The process is the script of a batch job, and not one of the job's tasks.
    #[error(
        "this is the batch script of a Slurm job of {tasks} tasks, and none of its tasks: start the program by srun"
    )]
    BatchScript {
        /// Tasks of the job.
        tasks: usize,
    },
    /// There is no token to tell the job's processes from strangers.
    #[error(
        "no token: give every process the same secret of at least {min} characters in the variable FP8LM_TOKEN"
    )]
    NoToken {
        /// The fewest bytes that a token may have.
        min: usize,
    },
    /// A token that can be guessed.
    #[error("the token has {bytes} bytes: expected at least {min}, and at most {max}")]
    TokenLength {
        /// Its length.
        bytes: usize,
        /// The fewest bytes that it may have.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Nothing says where rank 0 serves.
    #[error(
        "nothing says where rank 0 serves: set MASTER_ADDR to its host and MASTER_PORT to a free port"
    )]
    NoMaster,
    /// Rank 0 cannot serve.
    #[error("rank 0 cannot serve the store at {address}: {reason}")]
    Bind {
        /// Where it should serve.
        address: Address,
        /// What the system said.
        reason: String,
    },
    /// Nobody serves the store.
    #[error("rank 0 is missing: no store at {address} for {seconds} s: {reason}")]
    Unreachable {
        /// Where it should be.
        address: Address,
        /// How long this process tried.
        seconds: u64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The other side speaks another version of the protocol.
    #[error(
        "the store at {address} speaks version {theirs} of the protocol, and this process version {ours}"
    )]
    Version {
        /// The store.
        address: Address,
        /// Its version.
        theirs: u16,
        /// The version of this process.
        ours: u16,
    },
    /// What listens there is no store, or answers as none may.
    #[error("what listens at {address} is no store of fp8lm: {reason}")]
    NoStore {
        /// Where it listens.
        address: Address,
        /// What shows it.
        reason: &'static str,
    },
    /// The store has another token.
    #[error(
        "the store at {address} has another token than this process: FP8LM_TOKEN must be the same on every rank"
    )]
    WrongToken {
        /// The store.
        address: Address,
    },
    /// Another process has the rank already.
    #[error("rank {rank} is claimed twice: by {first}, which has it, and by {second}")]
    Claimed {
        /// The rank.
        rank: usize,
        /// The process that has it.
        first: Peer,
        /// The process that was refused.
        second: Peer,
    },
    /// A process counts other ranks than the store.
    #[error("rank {rank} was told of {claimed} ranks, and rank 0 of {expected}")]
    WorldSize {
        /// The rank.
        rank: usize,
        /// Its world size.
        claimed: usize,
        /// That of rank 0.
        expected: usize,
    },
    /// A process stems from another start of the job.
    #[error("rank {rank} is of start {claimed} of the job, and rank 0 of start {expected}")]
    Restarts {
        /// The rank.
        rank: usize,
        /// Its number of restarts.
        claimed: usize,
        /// That of rank 0.
        expected: usize,
    },
    /// Ranks did not come in time.
    #[error("{ranks} of {world_size} missing {} after {seconds} s{refusals}", place(at))]
    Missing {
        /// The barrier, or nothing for the meeting itself.
        at: String,
        /// Who did not come.
        ranks: Ranks,
        /// How many there should be.
        world_size: usize,
        /// How long the first that gave up has waited.
        seconds: u64,
        /// Connections that the store refused meanwhile.
        refusals: Refusals,
    },
    /// A rank has ended before the others were done with it.
    #[error("rank {rank} is gone: {peer}")]
    Lost {
        /// The rank.
        rank: usize,
        /// Its process.
        peer: Peer,
    },
    /// The connection to the store broke.
    #[error("rank 0 is gone, or the way to it: the store at {address}: {reason}")]
    Disconnected {
        /// The store.
        address: Address,
        /// What the system said.
        reason: String,
    },
    /// Nobody has set the key in time.
    #[error("nobody has set the key {key:?} for {seconds} s")]
    NotSet {
        /// The key.
        key: String,
        /// How long this process waited.
        seconds: u64,
    },
    /// The key is set already; a value never changes.
    #[error("the key {key:?} is set already, by rank {rank}")]
    Taken {
        /// The key.
        key: String,
        /// Who has set it.
        rank: usize,
    },
    /// A key, a name or a value is too short or too long.
    #[error("the {what} has {bytes} bytes: expected {min} to {max}")]
    Length {
        /// What it is.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// The store holds as much as it may.
    #[error("the store is full: it holds at most {max} bytes")]
    Full {
        /// The most that it holds.
        max: usize,
    },
    /// The system refused something else.
    #[error("{action}: {reason}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl Error {
    /// Whether another start of the whole job may find what this one missed: a rank or a connection that is gone or
    /// late. Everything else fails again until somebody mends it.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Restarts { .. }
                | Self::Missing { .. }
                | Self::Lost { .. }
                | Self::Disconnected { .. }
                | Self::NotSet { .. }
        )
    }
}

fn place(at: &str) -> String {
    if at.is_empty() { "at the meeting".into() } else { format!("at {at:?}") }
}
