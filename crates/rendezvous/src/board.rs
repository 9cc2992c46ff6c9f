//! What a store knows: who has come, what was set, who waits for whom. It does without connections.

mod state;
#[cfg(test)]
mod tests;

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use self::state::{Entry, State};
use crate::{
    Error, Peer, Refusals, Result,
    limits::{MAX_KEY, MAX_VALUE},
    message::Claim,
};

/// The state of a store, shared by the threads that serve its ranks.
pub(crate) struct Board {
    world_size: usize,
    restarts: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// Who waits, and how long: no thread waits for a process that has ended.
pub(crate) struct Caller<'a> {
    pub(crate) rank: usize,
    pub(crate) wait: Duration,
    pub(crate) is_alive: &'a dyn Fn() -> bool,
}

impl Board {
    /// Of so many ranks; the first, `peer`, has come.
    pub(crate) fn new(world_size: usize, restarts: usize, peer: Peer) -> Self {
        let state = Mutex::new(State::new(world_size, peer));
        Self { world_size, restarts, state, changed: Condvar::new() }
    }

    /// Gives a rank to a process. As long as not all have met, another that has it may have ended: that shows within a
    /// slice of time, and until then nobody is refused.
    pub(crate) fn claim(&self, claim: &Claim, peer: Peer) -> Result<()> {
        let mut state = self.lock();
        let mut result = self.check(&state, claim, peer);
        if matches!(result, Err(Error::Claimed { rank: 1.., .. })) && !state.has_met {
            let caller = Caller { rank: claim.rank, wait: 2 * SLICE, is_alive: &|| true };
            let is_free = |state: &State| state.members[claim.rank].is_none().then_some(());
            state = self.wait(state, &caller, is_free).0;
            result = self.check(&state, claim, peer);
        }
        match result {
            Ok(()) => state.members[claim.rank] = Some(peer),
            Err(_) => state.refusals.claim += 1,
        }
        if let Err(error) = &result
            && claim.restarts > self.restarts
        {
            // Some have been started again: this start is over, and waits for none of them.
            state.failure.get_or_insert(error.clone());
            self.changed.notify_all();
        }
        result
    }

    fn check(&self, state: &State, claim: &Claim, second: Peer) -> Result<()> {
        let Claim { rank, world_size, restarts, .. } = *claim;
        if restarts != self.restarts {
            return Err(Error::Restarts { rank, claimed: restarts, expected: self.restarts });
        }
        match state.members.get(rank) {
            Some(&member) if world_size == self.world_size => match member {
                Some(first) => Err(Error::Claimed { rank, first, second }),
                None => state.failure.clone().map_or(Ok(()), Err),
            },
            _ => Err(Error::WorldSize { rank, claimed: world_size, expected: self.world_size }),
        }
    }

    /// Notes that a connection was refused.
    pub(crate) fn refuse(&self, note: impl FnOnce(&mut Refusals)) {
        note(&mut self.lock().refusals);
    }

    /// Sets a key for good.
    pub(crate) fn set(&self, rank: usize, key: &str, value: &[u8]) -> Result<()> {
        expect_name("key", key)?;
        expect_length("value", value.len(), 0, MAX_VALUE)?;
        self.lock().set(rank, key, value)?;
        self.changed.notify_all();
        Ok(())
    }

    /// The value of a key, once somebody has set it.
    pub(crate) fn get(&self, key: &str, caller: &Caller<'_>) -> Result<Vec<u8>> {
        expect_name("key", key)?;
        let value =
            self.wait(self.lock(), caller, |state| Some(state.values.get(key)?.bytes.clone())).1?;
        let seconds = caller.wait.as_secs();
        value.ok_or_else(|| Error::NotSet { key: key.into(), seconds })
    }

    /// Waits until all ranks have entered. Whoever gives up gives up for all.
    pub(crate) fn barrier(&self, name: &str, caller: &Caller<'_>) -> Result<()> {
        expect_length("name", name.len(), 0, MAX_KEY)?;
        let mut state = self.lock();
        let done = match state.enter(caller.rank, name)? {
            Entry::Last => {
                self.changed.notify_all();
                return Ok(());
            }
            Entry::Waits(done) => done,
        };
        let (guard, result) =
            self.wait(state, caller, |_| done.load(Ordering::Relaxed).then_some(()));
        state = guard;
        if result?.is_some() {
            return Ok(());
        }
        let error = state.missing(name, caller.wait.as_secs());
        state.failure = Some(error.clone());
        self.changed.notify_all();
        Err(error)
    }

    /// Lets a rank go, whose process says so itself.
    pub(crate) fn leave(&self, rank: usize) {
        self.lock().leave(rank);
        self.changed.notify_all();
    }

    /// Waits until all others have left.
    pub(crate) fn wait_for_others(&self, caller: &Caller<'_>) -> Result<()> {
        let (state, result) =
            self.wait(self.lock(), caller, |state| state.has_only(caller.rank).then_some(()));
        result?.ok_or_else(|| state.staying(caller.rank, caller.wait.as_secs()))
    }

    /// Lets a rank go whose connection broke.
    pub(crate) fn lose(&self, rank: usize) {
        self.lock().lose(rank);
        self.changed.notify_all();
    }

    /// Ends all waits: whoever waits gets this error, and nobody begins to.
    pub(crate) fn close(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Waits until `ready` has something; nothing comes of it when the time is over.
    fn wait<'a, T>(
        &'a self,
        mut state: Guard<'a>,
        caller: &Caller<'_>,
        ready: impl Fn(&State) -> Option<T>,
    ) -> (Guard<'a>, Result<Option<T>>) {
        let deadline = Instant::now().checked_add(caller.wait);
        loop {
            if let Some(value) = ready(&state) {
                return (state, Ok(Some(value)));
            }
            if let Some(error) = state.failure.clone() {
                return (state, Err(error));
            }
            let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return (state, Ok(None));
            }
            if !(caller.is_alive)() {
                let error = state.lost(caller.rank);
                return (state, Err(error));
            }
            let woken = self.changed.wait_timeout(state, left.min(SLICE));
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing panics under the lock; if something did, what stands there would still be whole.
    fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Guard<'a> = MutexGuard<'a, State>;

pub(crate) fn expect_name(what: &'static str, name: &str) -> Result<()> {
    expect_length(what, name.len(), 1, MAX_KEY)
}

pub(crate) fn expect_length(
    what: &'static str,
    bytes: usize,
    min: usize,
    max: usize,
) -> Result<()> {
    let error = Error::Length { what, bytes, min, max };
    (min..=max).contains(&bytes).then_some(()).ok_or(error)
}

/// How often a thread that waits looks whether its process is still there.
const SLICE: Duration = Duration::from_millis(500);
