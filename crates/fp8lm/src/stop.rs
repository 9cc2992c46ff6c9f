//! Ctrl-C: the first asks the run to save and stop, the second ends the program.

use std::{
    process::{ExitCode, exit},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::Result;

/// A flag that the first Ctrl-C, or a termination signal, sets.
pub(crate) fn flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Relaxed) {
            exit(INTERRUPTED.into());
        }
    })?;
    Ok(stop)
}

/// The exit code of a run that was stopped.
pub(crate) fn interrupted() -> ExitCode {
    INTERRUPTED.into()
}

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
