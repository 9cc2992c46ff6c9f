//! Signals to this process, which are meant for those that it has started.

use std::{
    cell::Cell,
    ffi::c_int,
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustix::process::Signal;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    flag,
};

/// Signals to hand on. From now on none of them ends this process.
#[derive(Debug)]
pub(super) struct Signals {
    all: Vec<Caught>,
    /// What the first of those that stop is handed on as, if it is another signal.
    instead: Cell<Option<Signal>>,
}

#[derive(Debug)]
struct Caught {
    /// What it is handed on as.
    signal: Signal,
    /// Since it was last asked for.
    is_new: Arc<AtomicBool>,
    /// At any time.
    was_seen: Arc<AtomicBool>,
}

impl Signals {
    pub(super) fn catch(instead: Option<Signal>) -> io::Result<Self> {
        let mut signals =
            vec![(SIGINT, Signal::INT), (SIGTERM, Signal::TERM), (SIGUSR1, Signal::USR1)];
        if !is_hangup_ignored() {
            // The terminal has gone, and those who are to save must not write to it.
            signals.push((SIGHUP, Signal::TERM));
        }
        let all = signals.into_iter().map(|(number, signal)| Caught::catch(number, signal));
        Ok(Self { all: all.collect::<io::Result<_>>()?, instead: Cell::new(instead) })
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
    fn catch(number: c_int, signal: Signal) -> io::Result<Self> {
        let [is_new, was_seen] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        // In this order: what is new was seen.
        flag::register(number, was_seen.clone())?;
        flag::register(number, is_new.clone())?;
        Ok(Self { signal, is_new, was_seen })
    }
}

/// Whether whoever started this process wants it to outlive the terminal, as `nohup` does.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 << (SIGHUP - 1) != 0)
}
