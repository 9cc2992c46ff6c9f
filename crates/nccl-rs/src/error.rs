//! What can go wrong, from the search for the library to the last call.

use std::{fmt, path::PathBuf};

use crate::{ErrorCode, Version};

/// The result of every call.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the loader, of this crate's checks, or of NCCL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No library could be loaded.
    #[error("no NCCL library could be loaded: {}", list(attempts))]
    Load {
        /// What was tried, in this order.
        attempts: Vec<Attempt>,
    },
    /// A library was loaded that lacks a function of every NCCL since 2.7.
    #[error("`{}` lacks `{symbol}`, which every NCCL since 2.7 has: {reason}", library.display())]
    MissingSymbol {
        /// The library.
        library: PathBuf,
        /// The function.
        symbol: &'static str,
        /// What the loader said.
        reason: String,
    },
    /// The library has no such function yet.
    #[error("`{function}` needs NCCL {since}, and this is {found}")]
    TooOld {
        /// The function.
        function: &'static str,
        /// The first version that has it.
        since: Version,
        /// The version that was loaded.
        found: Version,
    },
    /// NCCL reported an error.
    #[error("{function}: {message} ({code:?}){}", detail(last_error))]
    Call {
        /// The function that was called.
        function: &'static str,
        /// The kind of error.
        code: ErrorCode,
        /// What NCCL says of this kind.
        message: String,
        /// NCCL's record of the last error in this process, which may stem from another call; empty if
        /// there is none.
        last_error: String,
    },
    /// The communicator is still being made.
    #[error("{function}: the communicator is still being made")]
    NotReady {
        /// The function that was to be called.
        function: &'static str,
    },
    /// The function may not be called within a group.
    #[error("{function}: communicators are made and finalized outside of groups")]
    InGroup {
        /// The function that was to be called.
        function: &'static str,
    },
    /// A number is too large for NCCL.
    #[error("{function}: `{argument}` is {value}, and NCCL takes at most {max}")]
    TooLarge {
        /// The function that was to be called.
        function: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its value.
        value: usize,
        /// The largest value that fits.
        max: usize,
    },
}

/// A library that could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The name or path that the loader was given.
    pub library: PathBuf,
    /// What the loader said.
    pub reason: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.library.display(), self.reason)
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(Attempt::to_string).collect::<Vec<_>>().join(", ")
}

fn detail(last_error: &str) -> String {
    if last_error.is_empty() { String::new() } else { format!("; last error: {last_error}") }
}
