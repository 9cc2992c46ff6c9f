//! Signals to this process, which are meant for those that it has started.

use std::{
    cell::Cell,
    ffi::c_int,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustix::process::Signal;
use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1},
    flag,
};

/// Signals to hand on. From now on none of them ends this process.
#[derive(Debug)]
pub(super) struct Signals {
    all: [Caught; 3],
    /// What the first of those that stop is handed on as, if it is another signal.
    instead: Cell<Option<Signal>>,
}

#[derive(Debug)]
struct Caught {
    signal: Signal,
    /// Since it was last asked for.
    is_new: Arc<AtomicBool>,
    /// At any time.
    was_seen: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn catch(instead: Option<Signal>) -> io::Result<Self> {
        let [int, term, usr1] = [
            Caught::catch(Signal::INT, SIGINT),
            Caught::catch(Signal::TERM, SIGTERM),
            Caught::catch(Signal::USR1, SIGUSR1),
        ];
        Ok(Self { all: [int?, term?, usr1?], instead: Cell::new(instead) })
    }

    /// Those that came since the last call, to be handed on.
    pub(super) fn take(&self) -> impl Iterator<Item = Signal> {
        self.all
            .iter()
            .filter(|caught| caught.is_new.swap(false, Relaxed))
            .map(|caught| self.handed_on(caught.signal))
    }

    fn handed_on(&self, signal: Signal) -> Signal {
        if signal == Signal::USR1 { signal } else { self.instead.take().unwrap_or(signal) }
    }

    /// The one that counts, if there was any: who sits at the terminal means more by it than who ends a job, and both
    /// more than a scheduler whose time limit comes.
    pub(super) fn stop(&self) -> Option<Signal> {
        self.all.iter().find(|caught| caught.was_seen.load(Relaxed)).map(|caught| caught.signal)
    }
}

impl Caught {
    fn catch(signal: Signal, number: c_int) -> io::Result<Self> {
        let [is_new, was_seen] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        // In this order: what is new was seen.
        flag::register(number, was_seen.clone())?;
        flag::register(number, is_new.clone())?;
        Ok(Self { signal, is_new, was_seen })
    }
}
