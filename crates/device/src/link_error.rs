//! What can go wrong between ranks. Every rank gets the same error.

use std::{fmt, time::Duration};

use crate::Tag;

/// Why a group of ranks cannot go on. Ranks are those of the whole world, whatever group found it out.
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
    #[error("rank {rank} waited {waited:?} in vain: {}", list(waiting))]
    TimedOut {
        /// The rank whose time was up first.
        rank: usize,
        /// How long it waited.
        waited: Duration,
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
    /// Two ranks split their group, and put one of them in different groups.
    #[error("rank {} is in a group of {:?}, and rank {} of {:?}", ranks[0], members[0], ranks[1], members[1])]
    Split {
        /// The two ranks.
        ranks: [usize; 2],
        /// The group of each, as it sees it.
        members: [Vec<usize>; 2],
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
    /// What carries data between ranks failed on one of them.
    #[error("rank {rank} in {doing}: {reason}")]
    Transport {
        /// The rank.
        rank: usize,
        /// What it did.
        doing: String,
        /// What the carrier said.
        reason: String,
    },
    /// All ranks have ended, and something that was sent was never received.
    #[error("{tag}: rank {to} has ended without what rank {from} sent to it")]
    Unreceived {
        /// What the sender did.
        tag: Tag,
        /// Who sent it.
        from: usize,
        /// Who should have received it.
        to: usize,
    },
}

/// What a rank is doing while others wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It is in an exchange, one of several if it has several streams.
    Exchange {
        /// The rank.
        rank: usize,
        /// What it does.
        tag: Tag,
        /// For whom it waits.
        peers: Vec<usize>,
    },
    /// It is in no exchange.
    Elsewhere {
        /// The rank.
        rank: usize,
    },
    /// It has ended.
    Ended {
        /// The rank.
        rank: usize,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Exchange { rank, tag, peers } => {
                write!(f, "rank {rank} does {tag}, and waits for {peers:?}")
            }
            Waiting::Elsewhere { rank } => write!(f, "rank {rank} is in no exchange"),
            Waiting::Ended { rank } => write!(f, "rank {rank} has ended"),
        }
    }
}

fn list(waiting: &[Waiting]) -> String {
    let waiting: Vec<_> = waiting.iter().map(Waiting::to_string).collect();
    waiting.join("; ")
}
