//! The state of a store, and what may become of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{Error, Peer, Ranks, Refusals, Result, limits::MAX_STORED};

/// Who is there and what is set.
pub(super) struct State {
    /// The process of each rank, also of those that have left.
    pub(super) members: Vec<Option<Peer>>,
    pub(super) values: BTreeMap<String, Value>,
    /// What ended the work of all: whoever waits gets it.
    pub(super) failure: Option<Error>,
    pub(super) refusals: Refusals,
    /// Whether all ranks have met.
    pub(super) has_met: bool,
    /// Ranks that have said that they go.
    left: BTreeSet<usize>,
    /// Barriers that some have entered, and not all.
    rounds: BTreeMap<String, Round>,
    /// Bytes of keys and values.
    stored: usize,
}

/// What a rank has set.
pub(super) struct Value {
    rank: usize,
    pub(super) bytes: Vec<u8>,
}

/// What becomes of a rank that enters a barrier.
pub(super) enum Entry {
    /// It is the last, and all may go on.
    Last,
    /// It waits until this is true.
    Waits(Arc<AtomicBool>),
}

#[derive(Default)]
struct Round {
    entered: BTreeSet<usize>,
    is_done: Arc<AtomicBool>,
}

impl State {
    pub(super) fn new(world_size: usize, first: Peer) -> Self {
        let mut members = vec![None; world_size];
        members[0] = Some(first);
        let (values, rounds, left) = Default::default();
        let refusals = Refusals::default();
        Self { members, values, failure: None, refusals, left, rounds, has_met: false, stored: 0 }
    }

    pub(super) fn set(&mut self, rank: usize, key: &str, bytes: &[u8]) -> Result<()> {
        self.expect_no_failure()?;
        if let Some(value) = self.values.get(key) {
            return Err(Error::Taken { key: key.into(), rank: value.rank });
        }
        let stored = self.stored + key.len() + bytes.len();
        if stored > MAX_STORED {
            return Err(Error::Full { max: MAX_STORED });
        }
        self.stored = stored;
        self.values.insert(key.into(), Value { rank, bytes: bytes.into() });
        Ok(())
    }

    pub(super) fn enter(&mut self, rank: usize, name: &str) -> Result<Entry> {
        self.expect_no_failure()?;
        if let Some(&gone) = self.left.first() {
            return Err(self.lost(gone));
        }
        let round = self.rounds.entry(name.into()).or_default();
        round.entered.insert(rank);
        if round.entered.len() < self.members.len() {
            return Ok(Entry::Waits(round.is_done.clone()));
        }
        round.is_done.store(true, Ordering::Relaxed);
        self.rounds.remove(name);
        // Nobody is at another barrier before all have met.
        self.has_met = true;
        Ok(Entry::Last)
    }

    /// Who has not entered a barrier that some wait at.
    pub(super) fn missing(&self, name: &str, seconds: u64) -> Error {
        let entered = self.rounds.get(name).map(|round| &round.entered);
        let is_missing = |rank: &usize| entered.is_none_or(|entered| !entered.contains(rank));
        self.not_come(name, seconds, is_missing)
    }

    /// Who has not left, though `rank` waits for it.
    pub(super) fn staying(&self, rank: usize, seconds: u64) -> Error {
        self.not_come("the end", seconds, |other| *other != rank && !self.left.contains(other))
    }

    pub(super) fn has_only(&self, rank: usize) -> bool {
        let others = self.left.len() - usize::from(self.left.contains(&rank));
        others + 1 == self.members.len()
    }

    pub(super) fn leave(&mut self, rank: usize) {
        self.left.insert(rank);
        if !self.rounds.is_empty() {
            self.fail(self.lost(rank));
        }
    }

    /// Before all have met, another process may take the rank. Afterwards its loss is everybody's.
    pub(super) fn lose(&mut self, rank: usize) {
        if self.has_met {
            return self.fail(self.lost(rank));
        }
        self.members[rank] = None;
        for round in self.rounds.values_mut() {
            round.entered.remove(&rank);
        }
    }

    /// A rank that is gone.
    pub(super) fn lost(&self, rank: usize) -> Error {
        let nobody = Peer { process: 0, address: None };
        Error::Lost { rank, peer: self.members[rank].unwrap_or(nobody) }
    }

    /// What came first is the cause.
    pub(super) fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Whether nobody waits at a barrier.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.rounds.is_empty()
    }

    fn expect_no_failure(&self) -> Result<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn not_come(&self, at: &str, seconds: u64, is_missing: impl Fn(&usize) -> bool) -> Error {
        let world_size = self.members.len();
        let ranks = Ranks::new((0..world_size).filter(is_missing));
        Error::Missing { at: at.into(), ranks, world_size, seconds, refusals: self.refusals }
    }
}
