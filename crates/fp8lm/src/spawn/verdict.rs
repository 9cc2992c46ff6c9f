//! What the ends of a job's processes mean together.

use std::fmt;

use rustix::process::Signal;

use crate::exit::Exit;

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(u8),
    Signal(i32),
}

/// The end of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// `rank 3`, for one.
    pub(super) name: String,
    pub(super) end: End,
}

/// How bad an end is. The worst decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// All is done.
    Done,
    /// On request.
    Stopped,
    /// To be started again.
    Again,
    /// A signal ended it.
    Lost,
    /// Starting it again would not help.
    Failed,
}

/// What becomes of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// On request, to this exit code.
    Stopped(u8),
    /// To be started again, for this process.
    Again(Ended),
    /// This process has failed, to this exit code.
    Failed(Ended, u8),
}

/// The verdict on processes that ended so, in this order, after `stop` was handed on to them.
pub(super) fn of(ends: &[Ended], stop: Option<Signal>) -> Verdict {
    // Of those that are equally bad the first is the cause of the others.
    let worst = ends.iter().rev().max_by_key(|ended| ended.end.severity());
    let Some(worst) = worst.cloned() else { return Verdict::Done };
    match (worst.end, worst.end.severity(), stop) {
        (_, Severity::Done, _) => Verdict::Done,
        (End::Code(code), Severity::Failed, _) => Verdict::Failed(worst, code),
        (_, _, Some(Signal::INT)) => Verdict::Stopped(Exit::Interrupted as u8),
        (_, _, Some(Signal::TERM)) => Verdict::Stopped(Exit::Terminated as u8),
        (End::Code(code), Severity::Stopped, None) => Verdict::Stopped(code),
        _ => Verdict::Again(worst),
    }
}

impl End {
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Code(DONE) => Severity::Done,
            Self::Code(INTERRUPTED | TERMINATED) => Severity::Stopped,
            Self::Code(AGAIN) => Severity::Again,
            // As shells tell of a program that a signal has ended.
            Self::Code(129..) | Self::Signal(_) => Severity::Lost,
            Self::Code(_) => Severity::Failed,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, end } = self;
        match end {
            End::Code(AGAIN) => write!(f, "{name} asks to be started again"),
            End::Code(code) => write!(f, "{name} ended with exit code {code}"),
            End::Signal(signal) => write!(f, "{name} was ended by signal {signal}"),
        }
    }
}

const DONE: u8 = Exit::Done as u8;
const AGAIN: u8 = Exit::Again as u8;
const INTERRUPTED: u8 = Exit::Interrupted as u8;
const TERMINATED: u8 = Exit::Terminated as u8;

#[cfg(test)]
mod tests {
    use super::{End::Code, *};

    fn verdict(ends: &[End], stop: Option<Signal>) -> Verdict {
        let ends: Vec<_> = (0..).zip(ends).map(|(rank, &end)| ended(rank, end)).collect();
        of(&ends, stop)
    }

    fn ended(rank: u32, end: End) -> Ended {
        Ended { name: format!("rank {rank}"), end }
    }

    #[test]
    fn the_worst_end_decides_and_of_equals_the_first() {
        let killed = End::Signal(9);
        let again = |rank, end| Verdict::Again(ended(rank, end));
        let cases = [
            (vec![Code(0), Code(0)], Verdict::Done),
            (vec![], Verdict::Done),
            (vec![Code(0), Code(75), Code(75)], again(1, Code(75))),
            (vec![Code(75), killed, Code(0)], again(1, killed)),
            (vec![killed, End::Signal(11)], again(0, killed)),
            (vec![Code(137), Code(75)], again(0, Code(137))),
            (vec![Code(143), Code(0)], Verdict::Stopped(143)),
            (vec![Code(143), Code(75)], again(1, Code(75))),
            (vec![killed, Code(75), Code(1)], Verdict::Failed(ended(2, Code(1)), 1)),
            (vec![Code(101), Code(1)], Verdict::Failed(ended(0, Code(101)), 101)),
        ];
        for (ends, expected) in cases {
            assert_eq!(verdict(&ends, None), expected, "{ends:?}");
        }
    }

    #[test]
    fn who_asks_for_a_stop_is_not_started_again() {
        let killed = End::Signal(15);
        assert_eq!(verdict(&[Code(143), killed], Some(Signal::TERM)), Verdict::Stopped(143));
        assert_eq!(verdict(&[Code(130), Code(75)], Some(Signal::INT)), Verdict::Stopped(130));
        assert_eq!(verdict(&[Code(0), Code(0)], Some(Signal::TERM)), Verdict::Done);
        let failed = Verdict::Failed(ended(1, Code(1)), 1);
        assert_eq!(verdict(&[Code(143), Code(1)], Some(Signal::TERM)), failed);
        let again = Verdict::Again(ended(0, Code(75)));
        assert_eq!(verdict(&[Code(75), Code(75)], Some(Signal::USR1)), again);
    }
}
