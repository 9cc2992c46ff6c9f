//! Where the two sides of a message meet: whoever comes second copies it, and nobody holds a lock while it waits.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fp8lm_device::{LinkError, Result};

use super::{
    fault::{Fate, Fault, fate},
    groups::Split,
    state::{Match, Message, Parcel, Route, State, Ticket},
    traffic::Traffic,
};
use crate::emulator::{Emulator, Wire};

/// What the ranks of one run share.
#[derive(Debug)]
pub(super) struct Rendezvous {
    pub(super) emulators: Vec<Arc<Emulator>>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) timeout: Duration,
    pub(super) checksums: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) state: Mutex<State>,
    /// One a rank.
    pub(super) wakers: Vec<Condvar>,
}

impl Rendezvous {
    /// Offers messages all at once, and copies those whose other side is there already.
    pub(super) fn post(&self, parcel: Parcel) -> Result<Ticket> {
        let (ticket, matches) = self.meet(parcel)?;
        matches.into_iter().try_for_each(|message| self.deliver(message))?;
        Ok(ticket)
    }

    /// Which of these messages a receiver waits for, as it will until they come.
    pub(super) fn are_expected(&self, messages: &[Message]) -> Result<Vec<bool>> {
        let state = self.lock();
        check(&state)?;
        Ok(messages.iter().map(|message| state.is_expected(&message.route)).collect())
    }

    /// Waits until one of the rank's exchanges is complete.
    pub(super) fn wait_any(&self, rank: usize, tickets: &[Ticket]) -> Result<()> {
        let deadline = Instant::now().checked_add(self.timeout);
        let mut state = self.lock();
        loop {
            check(&state)?;
            if tickets.iter().any(|ticket| state.has_arrived(*ticket)) {
                return Ok(());
            }
            state.block(rank);
            match (state.deadlock(), remaining(deadline)) {
                (Some(deadlock), _) => self.fail(&mut state, deadlock),
                (_, Some(Duration::ZERO)) => self.time_out(&mut state, rank),
                (_, time) => state = self.sleep(state, rank, time),
            }
        }
    }

    /// Whether all messages of an exchange have arrived.
    pub(super) fn has_arrived(&self, ticket: Ticket) -> Result<bool> {
        let state = self.lock();
        check(&state)?;
        Ok(state.has_arrived(ticket))
    }

    /// Whether the ranks can go on.
    pub(super) fn check(&self) -> Result<()> {
        check(&self.lock())
    }

    /// The channel of a group, all members ranks of the world.
    pub(super) fn split(&self, split: Split, rank: usize, members: &[usize]) -> Result<usize> {
        let mut state = self.lock();
        check(&state)?;
        let channel = state.groups.join(split, rank, members);
        channel.or_else(|error| self.refuse(&mut state, error))
    }

    /// Ends everything with `error`, unless it has ended already.
    pub(super) fn abort(&self, error: LinkError) {
        self.fail(&mut self.lock(), error);
    }

    /// A rank ends, with a reason if it failed.
    pub(super) fn end(&self, rank: usize, reason: Option<String>) {
        let mut state = self.lock();
        state.end(rank);
        if let Some(reason) = reason {
            if state.failure.is_none() {
                state.culprit = Some(rank);
            }
            self.fail(&mut state, LinkError::RankFailed { rank, reason });
        } else if let Some(deadlock) = state.deadlock() {
            self.fail(&mut state, deadlock);
        }
    }

    /// What was sent and nobody has received, once all ranks have ended well, and by whom.
    pub(super) fn unreceived(&self) -> Option<(usize, LinkError)> {
        self.lock().unreceived()
    }

    /// The rank whose own end brought the others down.
    pub(super) fn culprit(&self) -> Option<usize> {
        self.lock().culprit
    }

    fn meet(&self, parcel: Parcel) -> Result<(Ticket, Vec<Match>)> {
        let mut state = self.lock();
        check(&state)?;
        let ticket = state.open(&parcel);
        let mut matches = Vec::new();
        for message in parcel.messages {
            let fate = self.send(&message);
            match state.post(ticket, message, fate) {
                Ok(both) => matches.extend(both),
                Err(error) => return self.refuse(&mut state, error),
            }
        }
        Ok((ticket, matches))
    }

    /// Counts a message that goes to another rank, and asks what becomes of it.
    fn send(&self, message: &Message) -> Fate {
        let (from, to) = (message.route.from, message.route.to);
        if !message.is_send || from == to {
            return Fate::Arrives;
        }
        fate(&self.faults, [from, to], self.traffic.count(from, to, message.view.bytes()))
    }

    fn deliver(&self, message: Match) -> Result<()> {
        let is_intact = self.copy(&message)?;
        let Match { route: Route { from, to, .. }, tag, tickets, from: sent, to: received, .. } =
            message;
        // Whoever goes on finds that nobody holds its memory any more.
        drop((sent, received));
        let mut state = self.lock();
        check(&state)?;
        if !is_intact {
            return self.refuse(&mut state, LinkError::Corrupted { tag, from, to });
        }
        for rank in tickets.into_iter().filter_map(|ticket| state.arrive(ticket)) {
            self.wakers[rank].notify_all();
        }
        Ok(())
    }

    fn copy(&self, message: &Match) -> Result<bool> {
        let Match { route, from, to, damage, .. } = message;
        let wire = Wire { checksums: self.checksums, damage: *damage };
        self.emulators[route.to].receive(to, &self.emulators[route.from], from, wire)
    }

    fn refuse<T>(&self, state: &mut State, error: LinkError) -> Result<T> {
        self.fail(state, error.clone());
        Err(error.into())
    }

    fn time_out(&self, state: &mut State, rank: usize) {
        let (waited, waiting) = (self.timeout, state.waiting());
        self.fail(state, LinkError::TimedOut { rank, waited, waiting });
    }

    fn fail(&self, state: &mut State, error: LinkError) {
        state.failure.get_or_insert(error);
        self.wakers.iter().for_each(Condvar::notify_all);
    }

    fn sleep<'a>(
        &self,
        state: MutexGuard<'a, State>,
        rank: usize,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let waker = &self.wakers[rank];
        match time {
            Some(time) => {
                let woken = waker.wait_timeout(state, time);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => waker.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// No call leaves the state half changed, so that it is usable after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(state: &State) -> Result<()> {
    state.failure.clone().map_or(Ok(()), |failure| Err(failure.into()))
}

/// The time left, if it is limited.
fn remaining(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}
