//! What can go wrong with messages of bytes.

/// An error of a transport, before links make one of all ranks of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// MPI refused a call.
    #[error("{operation}: {reason}")]
    Call {
        /// MPI's name of the call.
        operation: &'static str,
        /// What MPI says.
        reason: String,
    },
    /// This process has started MPI before, and MPI starts but once.
    #[error("MPI_Init_thread: this process has started MPI before")]
    StartedBefore,
    /// The library cannot be called from more than one thread.
    #[error("MPI_Init_thread: expected MPI_THREAD_SERIALIZED or more, got level {got}")]
    Threads {
        /// The level that the library has.
        got: &'static str,
    },
    /// A peer is gone.
    #[error("rank {rank} is gone")]
    Gone {
        /// The peer.
        rank: usize,
    },
    /// What came from a peer is no message of this version of the crate.
    #[error("what rank {from} sent is no message of this program")]
    Malformed {
        /// The peer.
        from: usize,
    },
}

impl Error {
    /// What was done, and what went wrong in it.
    pub(crate) fn parts(&self) -> (String, String) {
        match self {
            Error::Call { operation, reason } => ((*operation).to_owned(), reason.clone()),
            other => ("messages to the others".to_owned(), other.to_string()),
        }
    }
}
