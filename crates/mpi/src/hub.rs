//! What all links of a process share: the transport, what has arrived, and how the group stands.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fp8lm_device::{Device, LinkError, Result, Stream, Tag, View};

use crate::{
    frame::{Route, Split, open, parcel},
    pace::Pace,
    state::State,
};

/// One a process.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) rank: usize,
    pub(crate) timeout: Duration,
    state: Mutex<State>,
    /// Tells the [courier](Self::carry) that there is something to do.
    courier: Condvar,
}

/// A view that is to arrive.
pub(crate) struct Expected {
    pub(crate) route: Route,
    pub(crate) to: View,
}

impl Hub {
    pub(crate) fn new(state: State, device: Arc<dyn Device>, timeout: Duration) -> Self {
        let rank = state.rank();
        Self { device, rank, timeout, state: Mutex::new(state), courier: Condvar::new() }
    }

    /// Whether the group can go on.
    pub(crate) fn check(&self) -> Result<()> {
        self.lock().check().map_err(Into::into)
    }

    /// Sends a view as the work on `stream` so far leaves it.
    pub(crate) fn send(&self, stream: Stream, tag: &Tag, route: Route, from: &View) -> Result<()> {
        let mut parcel = parcel(&route, tag, from);
        self.device.download(stream, from, parcel.view())?;
        let message = parcel.seal();
        let mut state = self.lock();
        state.check()?;
        state.send(route, message)?;
        Ok(())
    }

    /// Waits until all of `expected` are there.
    pub(crate) fn receive(
        &self,
        stream: Stream,
        tag: &Tag,
        mut expected: Vec<Expected>,
    ) -> Result<()> {
        let deadline = Instant::now().checked_add(self.timeout);
        let mut pace = Pace::default();
        loop {
            let arrived = self.arrived(tag, &mut expected)?;
            for (message, to) in &arrived {
                self.deliver(stream, message, to)?;
            }
            if expected.is_empty() {
                return Ok(());
            }
            if !arrived.is_empty() {
                pace = Pace::default();
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.time_out(|state| expected.iter().any(|one| state.has(&one.route)))?;
            } else {
                pace.rest();
            }
        }
    }

    /// Leaves it to the courier to see what was sent off, while this rank does other things.
    pub(crate) fn hand_over(&self) {
        if !self.lock().is_sent() {
            self.courier.notify_one();
        }
    }

    /// Moves on messages that need calls of their sender to arrive, until the run has ended. A thread of its own does
    /// it, else a peer would wait for them until this rank has computed enough to call its link again.
    pub(crate) fn carry(&self) {
        let mut state = self.lock();
        while !state.is_over() {
            if state.is_sent() {
                state = self.courier.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.progress();
            drop(state);
            std::thread::sleep(ROUND);
            state = self.lock();
        }
    }

    /// Ends the courier.
    pub(crate) fn dismiss(&self) {
        self.lock().end();
        self.courier.notify_one();
    }

    /// Names a group. Those of its members who name another hear of both.
    pub(crate) fn split(&self, split: Split) -> Result<()> {
        let mut state = self.lock();
        state.check()?;
        state.split(split)?;
        Ok(())
    }

    /// Ends everything with `error`, unless it has ended already.
    pub(crate) fn abort(&self, error: LinkError) {
        self.lock().fail(error);
    }

    /// What is shared, as no call leaves it half changed.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from `expected` what has arrived.
    fn arrived(&self, tag: &Tag, expected: &mut Vec<Expected>) -> Result<Vec<(Vec<u8>, View)>> {
        let mut state = self.lock();
        state.progress();
        state.check()?;
        let mut arrived = Vec::new();
        let mut missing = Vec::new();
        for Expected { route, to } in expected.drain(..) {
            match state.take(&route, tag, &to)? {
                Some(message) => arrived.push((message, to)),
                None => missing.push(Expected { route, to }),
            }
        }
        state.wait_for(tag, missing.iter().map(|expected| expected.route.from));
        *expected = missing;
        Ok(arrived)
    }

    fn deliver(&self, stream: Stream, message: &[u8], to: &View) -> Result<()> {
        let Some((_, view)) = open(message) else { return Ok(()) };
        self.device.upload(stream, view, to)
    }

    /// Asks all ranks what they do, and fails with what they say, unless what is missing comes after all.
    fn time_out(&self, has_come: impl Fn(&State) -> bool) -> Result<()> {
        let mut state = self.lock();
        state.ask();
        let turn = TURN * u32::try_from(self.rank.min(TURNS)).unwrap_or(0);
        let patience = ANSWER.min(self.timeout) + turn;
        let asked = Instant::now();
        while asked.elapsed() < patience {
            drop(state);
            std::thread::sleep(TICK);
            state = self.lock();
            state.progress();
            state.check()?;
            if has_come(&state) {
                return Ok(());
            }
        }
        let (rank, waited, waiting) = (self.rank, self.timeout, state.answers());
        state.fail(LinkError::TimedOut { rank, waited, waiting });
        state.check().map_err(Into::into)
    }
}

impl Hub {
    /// Ends this rank's part, and waits until all ranks have ended theirs: for the time-out, and after a failure for
    /// `grace` at most.
    pub(crate) fn end(&self, grace: Duration) -> Ending {
        let mut ending = self.part(1, grace);
        if ending.is_over {
            // All that was sent to this rank is there, so what is left will never be received. A second farewell waits
            // for those who find out.
            self.lock().expect_nothing_left();
            ending = self.part(2, grace);
        }
        ending
    }

    /// Says farewell for the `times`-th time, and waits for that of all others.
    fn part(&self, times: u8, grace: Duration) -> Ending {
        let (started, mut failed) = (Instant::now(), None);
        let mut pace = Pace::default();
        self.lock().part();
        loop {
            let mut state = self.lock();
            state.progress();
            let (missing, is_over) = (state.missing(times), state.has_ended(times));
            let failure = state.check().err();
            if failure.is_some() {
                failed.get_or_insert_with(Instant::now);
            }
            let is_late = failed.is_some_and(|failed| failed.elapsed() >= grace);
            if is_late || is_over {
                return Ending { failure, missing, is_over };
            }
            drop(state);
            if failure.is_none() && started.elapsed() >= self.timeout {
                // What it fails with is found in the next round.
                let _ = self.time_out(|state| state.has_ended(times));
            }
            pace.rest();
        }
    }
}

/// How the end of a rank went.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) failure: Option<LinkError>,
    /// Ranks that have not ended.
    pub(crate) missing: Vec<usize>,
    /// Whether nothing is under way, to this rank or from it.
    pub(crate) is_over: bool,
}

/// Waiting is over after as long as a rank that computes needs to look, at most.
const ANSWER: Duration = Duration::from_millis(500);
/// Ranks whose time is up together speak one after another, so that the first is heard by the others.
const TURN: Duration = Duration::from_millis(20);
const TURNS: usize = 50;
/// Between two looks of the courier.
const ROUND: Duration = Duration::from_micros(100);
const TICK: Duration = Duration::from_millis(1);
