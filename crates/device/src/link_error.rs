//! What can go wrong between ranks. Every rank gets the same error.

use std::fmt;

use crate::Tag;

/// Why a group of ranks cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// A rank ended with an error or a panic.
    #[error("rank {rank} failed: {reason}")]
    RankFailed {
        /// The rank.
        rank: usize,
        /// What it ended with.
        reason: String,
    },
    /// Every rank waits, and none for what another sends.
    #[error("no rank can go on: {}", list(waiting))]
    Deadlock {
        /// What each rank waits for.
        waiting: Vec<Waiting>,
    },
    /// Peers did not come in time.
    #[error("rank {rank} waited {seconds} s in vain: {}", list(waiting))]
    TimedOut {
        /// The rank whose time was up first.
        rank: usize,
        /// How long it waited.
        seconds: u64,
        /// What each rank waits for.
        waiting: Vec<Waiting>,
    },
    /// Two ranks are in different collectives, or in the same with different tensors.
    #[error("rank {} does {}, and rank {} does {}", ranks[0], tags[0], ranks[1], tags[1])]
    Mismatch {
        /// The two ranks.
        ranks: [usize; 2],
        /// What each of them does.
        tags: [Tag; 2],
    },
    /// Two ranks are in the same collective and do not expect the same of each other.
    #[error("{tag}: rank {from} sends {sent} and rank {to} expects {expected}")]
    Length {
        /// What both do.
        tag: Tag,
        /// Who sends.
        from: usize,
        /// Who receives.
        to: usize,
        /// Type and number of what is sent.
        sent: String,
        /// Type and number of what is expected.
        expected: String,
    },
    /// A message arrived with another checksum than it was sent with.
    #[error("{tag}: the message from rank {from} to rank {to} was damaged on its way")]
    Corrupted {
        /// What both do.
        tag: Tag,
        /// Who sent it.
        from: usize,
        /// Who received it.
        to: usize,
    },
}

/// A rank that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The rank.
    pub rank: usize,
    /// What it does; none if it has ended.
    pub tag: Option<Tag>,
    /// For whom it waits.
    pub peers: Vec<usize>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, tag, peers } = self;
        match tag {
            Some(tag) => write!(f, "rank {rank} does {tag}, and waits for {peers:?}"),
            None => write!(f, "rank {rank} has ended"),
        }
    }
}

fn list(waiting: &[Waiting]) -> String {
    let waiting: Vec<_> = waiting.iter().map(Waiting::to_string).collect();
    waiting.join("; ")
}
