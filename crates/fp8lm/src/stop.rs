//! Signals that ask a run to save and stop.

use std::{
    ffi::c_int,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::exit::Exit;

/// What this process is asked to do by signals.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Arc<AtomicUsize>,
    is_starting: Arc<AtomicBool>,
}

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGUSR1 end the program at once until a run has
    /// [started](Self::started), for there is nothing to save and ranks may wait for others that never come. From then
    /// on they ask it to stop, and a second SIGINT ends it at once.
    pub(crate) fn catch() -> io::Result<Self> {
        let is_starting = Arc::new(AtomicBool::new(true));
        let stop = Self { asked: Arc::default(), is_starting };
        let was_interrupted = Arc::new(AtomicBool::new(false));
        // In this order: the first of the two must not see what the same signal makes the second do.
        let interrupted = Exit::Interrupted as c_int;
        flag::register_conditional_shutdown(SIGINT, interrupted, was_interrupted.clone())?;
        flag::register(SIGINT, was_interrupted)?;
        for (index, (signal, exit)) in SIGNALS.iter().enumerate() {
            let is_starting = stop.is_starting.clone();
            flag::register_conditional_shutdown(*signal, *exit as c_int, is_starting)?;
            flag::register_usize(*signal, stop.asked.clone(), index + 1)?;
        }
        Ok(stop)
    }

    /// The run looks at what it is asked for from now on.
    pub(crate) fn started(&self) {
        self.is_starting.store(false, SeqCst);
    }

    /// What it is asked to stop for: 0 is nothing, and of what ranks are asked the largest counts.
    pub(crate) fn asked(&self) -> &AtomicUsize {
        &self.asked
    }
}

/// How a run ends that has stopped, being asked to.
pub(crate) fn exit(asked: usize) -> Exit {
    let signal = SIGNALS.get(asked.wrapping_sub(1));
    signal.map_or(Exit::Interrupted, |(_, exit)| *exit)
}

/// What signals ask for. Who ends a job means more by it than a scheduler whose time limit comes, and who sits at the
/// terminal more than both.
const SIGNALS: &[(c_int, Exit)] = &[
    #[cfg(unix)]
    (signal_hook::consts::SIGUSR1, Exit::Again),
    (SIGTERM, Exit::Terminated),
    (SIGINT, Exit::Interrupted),
];
