//! How often a rank that waits looks: processes that share few cores must leave them to one another.

use std::{thread, time::Duration};

/// Looks at once at first, and less and less often.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    rests: u32,
}

impl Pace {
    pub(crate) fn rest(&mut self) {
        let rests = self.rests;
        self.rests += 1;
        match rests.checked_sub(YIELDS) {
            None => thread::yield_now(),
            Some(sleeps) => thread::sleep(SHORTEST * (1 << (sleeps / SLEEPS).min(DOUBLINGS))),
        }
    }
}

/// A yield to nobody costs a microsecond, so these are as many.
const YIELDS: u32 = 100;
const SHORTEST: Duration = Duration::from_micros(20);
const SLEEPS: u32 = 50;
/// To 640 us.
const DOUBLINGS: u32 = 5;
