//! What a rank does with others, in words and until it is done.

use std::time::Instant;

use fp8lm_device::{DType, LinkError, Tag, Waiting};
use nccl_rs::ErrorCode;

use crate::{driver::Event, point::Point};

/// What a rank does, and with whom.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) tag: Tag,
    /// Ranks of the world.
    pub(super) peers: Vec<usize>,
}

impl Operation {
    /// The making of a communicator of `members`, ranks of the world.
    pub(super) fn making(members: &[usize]) -> Self {
        let (operation, elements) = ("connecting ranks", Some(members.len()));
        let tag = Tag { operation, reduction: None, dtype: DType::U8, elements, number: 0 };
        Self { tag, peers: members.to_vec() }
    }

    /// What rank `rank` of the world waits for in it.
    pub(super) fn waiting(&self, rank: usize) -> Waiting {
        let peers = self.peers.iter().copied().filter(|peer| *peer != rank).collect();
        Waiting::Exchange { rank, tag: self.tag, peers }
    }

    /// That NCCL refused it on rank `rank` of the world: another start may go better, unless a call is not allowed.
    pub(super) fn refused(&self, rank: usize, error: &nccl_rs::Error) -> LinkError {
        let reason = error.to_string();
        match error {
            nccl_rs::Error::Call { code, .. } if !NOT_ALLOWED.contains(code) => {
                self.failed(rank, reason)
            }
            _ => LinkError::RankFailed { rank, reason },
        }
    }

    /// That it failed on rank `rank` of the world.
    pub(super) fn failed(&self, rank: usize, reason: String) -> LinkError {
        LinkError::Transport { rank, doing: self.tag.to_string(), reason }
    }
}

/// An operation that was enqueued.
#[derive(Debug)]
pub(super) struct InFlight<P = Event> {
    pub(super) operation: Operation,
    /// Which communicator it is on.
    pub(super) comm: usize,
    /// Happens when the stream has come to it.
    pub(super) started: P,
    /// Happens when it is done.
    pub(super) done: P,
    /// When it was first seen to have started.
    pub(super) since: Option<Instant>,
}

impl<P: Point> InFlight<P> {
    /// Since when it has been under way: work before it on its stream takes as long as it takes.
    pub(super) fn started_at(&mut self, now: Instant) -> Option<Instant> {
        if self.since.is_none() && self.started.is_done() {
            self.since = Some(now);
        }
        self.since
    }
}

/// Two ranks with one GPU are such a case.
const NOT_ALLOWED: [ErrorCode; 2] = [ErrorCode::InvalidArgument, ErrorCode::InvalidUsage];

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::point::tests::Fake;

    /// An operation of that number, which begins when the point has happened.
    pub(in crate::nccl) fn flight(number: u64, started: &Fake) -> InFlight<Fake> {
        let (operation, reduction, elements) = ("all_reduce", None, Some(3));
        let tag = Tag { operation, reduction, dtype: DType::F32, elements, number };
        let operation = Operation { tag, peers: vec![1, 2] };
        let (started, done, since) = (started.clone(), Fake::default(), None);
        InFlight { operation, comm: 0, started, done, since }
    }

    #[test]
    fn time_counts_from_when_the_stream_has_come_to_it() {
        let started = Fake::default();
        let mut flight = flight(7, &started);
        let first = Instant::now();
        assert_eq!(flight.started_at(first), None, "work before it is under way");
        started.0.set(true);
        let second = first + Duration::from_secs(1);
        assert_eq!(flight.started_at(second), Some(second));
        assert_eq!(flight.started_at(second + Duration::from_secs(9)), Some(second));
        let failed = flight.operation.failed(2, "no".into());
        assert_eq!(failed.to_string(), "rank 2 in all_reduce of f32[3], number 7: no");
    }
}
