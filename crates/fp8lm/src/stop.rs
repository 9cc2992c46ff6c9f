//! Signals that ask a run to save and stop.

use std::{
    ffi::c_int,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::exit::Exit;

/// What this process is asked to stop for: 0 is nothing, and of what ranks are asked the largest counts. From now on
/// SIGINT, SIGTERM and SIGUSR1 end no program but by this; a second SIGINT ends it at once.
pub(crate) fn asked() -> io::Result<Arc<AtomicUsize>> {
    let was_interrupted = Arc::new(AtomicBool::new(false));
    // In this order: the first of the two must not see what the same signal makes the second do.
    flag::register_conditional_shutdown(SIGINT, Exit::Interrupted as i32, was_interrupted.clone())?;
    flag::register(SIGINT, was_interrupted)?;
    let asked = Arc::new(AtomicUsize::new(0));
    for (index, (signal, _)) in SIGNALS.iter().enumerate() {
        flag::register_usize(*signal, asked.clone(), index + 1)?;
    }
    Ok(asked)
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
