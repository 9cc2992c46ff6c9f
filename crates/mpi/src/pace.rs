//! How often a rank that waits looks: processes that share few cores must leave them to one another.

use std::{hint, thread, time::Duration};

/// Looks at once at first, and less and less often.
///
/// It never yields: on cores that others want, too, a yield gives away whole slices of time, while a sleep, however
/// short, ends as soon as its time is up. Four processes on two cores that other programs kept busy trained at 1100 to
/// 1400 tokens/s with yields, and at 1600 to 3100 so, where four threads came to 3000 to 3600.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    rests: u32,
}

impl Pace {
    pub(crate) fn rest(&mut self) {
        let rests = self.rests;
        self.rests = rests.saturating_add(1);
        match rests.checked_sub(SPINS) {
            None => hint::spin_loop(),
            Some(sleeps) => thread::sleep(SHORTEST * (1 << (sleeps / SLEEPS).min(DOUBLINGS))),
        }
    }
}

/// Looks that take about as long as a thread needs to fall asleep and wake up.
const SPINS: u32 = 300;
/// The system makes 50 us of it, and sleeps the more precisely the shorter it is asked to.
const SHORTEST: Duration = Duration::from_micros(1);
const SLEEPS: u32 = 200;
/// To 64 us, which are 2 % of a core's time at the most.
const DOUBLINGS: u32 = 6;
