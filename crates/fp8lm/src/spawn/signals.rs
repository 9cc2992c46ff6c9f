//! Signals to this process, which are meant for those that it has started.

use std::{
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
    pub(super) fn catch() -> io::Result<Self> {
        let [int, term, usr1] = [
            Caught::catch(Signal::INT, SIGINT),
            Caught::catch(Signal::TERM, SIGTERM),
            Caught::catch(Signal::USR1, SIGUSR1),
        ];
        Ok(Self { all: [int?, term?, usr1?] })
    }

    /// Those that came since the last call.
    pub(super) fn take(&self) -> impl Iterator<Item = Signal> {
        self.all
            .iter()
            .filter(|caught| caught.is_new.swap(false, Relaxed))
            .map(|caught| caught.signal)
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
