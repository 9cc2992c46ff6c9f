//! The exit codes of the program, which tell whoever started it whether to start it again.

use std::{error::Error, io, process::ExitCode};

use fp8lm_device::LinkError;

/// How the program ends, but for a wrong command line, of which `clap` makes 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is done.
    Done = 0,
    /// An error that would come again, of this rank or of another.
    Failed = 1,
    /// To be started again: the time was up and the run is saved, ranks lost one another, or an earlier start still
    /// has the folder. The `EX_TEMPFAIL` of `sysexits.h`.
    Again = 75,
    /// Ctrl-C stopped a run, which is saved. What shells report for a program that Ctrl-C ended.
    Interrupted = 130,
    /// The same for SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// How a program ends that ends with this error: well, if what broke is a pipe that nobody reads any more.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(is_broken_pipe) {
            return Self::Done;
        }
        if error.chain().any(is_temporary) { Self::Again } else { Self::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

fn is_broken_pipe(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether ranks lost one another, or an earlier start still has the folder, which may not come again. A rank that
/// could tell what it ended with was not lost, and ends itself as one whose error would come again; so do all. Errors
/// that only wrap another one are no links of a chain: they are looked into.
fn is_temporary(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<fp8lm_trainer::Error>() {
        return error.is_temporary() || error.device().is_some_and(|error| is_temporary(error));
    }
    if let Some(error) = cause.downcast_ref::<fp8lm_rendezvous::Error>() {
        return error.is_temporary();
    }
    match cause.downcast_ref::<fp8lm_device::Error>() {
        Some(fp8lm_device::Error::Link(error)) => is_loss(error),
        Some(fp8lm_device::Error::Failed { source, .. }) => is_temporary(&**source),
        _ => cause.downcast_ref().is_some_and(is_loss),
    }
}

/// Ranks that do not do the same would not do it the next time either.
fn is_loss(error: &LinkError) -> bool {
    use LinkError::{Corrupted, TimedOut, Transport};
    matches!(error, Transport { .. } | TimedOut { .. } | Corrupted { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> fp8lm_device::Error {
        link().into()
    }

    fn link() -> LinkError {
        LinkError::Transport { rank: 1, doing: "all_reduce".into(), reason: "it was lost".into() }
    }

    #[test]
    fn a_lost_rank_is_found_wherever_the_error_stands() {
        let in_a_stage =
            fp8lm_device::Error::Failed { operation: "a stage", source: lost().into() };
        let errors = [
            anyhow::Error::new(lost()),
            anyhow::Error::new(lost()).context("rank 0"),
            fp8lm_trainer::Error::from(lost()).into(),
            fp8lm_trainer::Error::from(in_a_stage).into(),
            link().into(),
        ];
        for error in errors {
            assert_eq!(Exit::of(&error), Exit::Again, "{error:?}");
        }
    }

    #[test]
    fn a_rank_that_did_not_come_may_come_another_time() {
        let key = String::new();
        let late = fp8lm_rendezvous::Error::NotSet { key, seconds: 60 };
        assert_eq!(Exit::of(&late.into()), Exit::Again);
        let wrong = fp8lm_rendezvous::Error::NoMaster;
        assert_eq!(Exit::of(&wrong.into()), Exit::Failed);
    }

    #[test]
    fn other_errors_would_come_again() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let missing = fp8lm_trainer::Error::NoCheckpoint { path: "runs/a".into() };
        let text = anyhow::anyhow!("rank 1 failed: it was lost");
        let of_another = LinkError::RankFailed { rank: 1, reason: full.to_string() };
        let of_another = fp8lm_device::Error::from(of_another);
        let apart = LinkError::Split { ranks: [0, 1], members: [vec![0, 1], vec![1]] };
        for error in [full.into(), missing.into(), text, of_another.into(), apart.into()] {
            assert_eq!(Exit::of(&error), Exit::Failed, "{error:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_a_good_end() {
        let closed = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Exit::of(&closed.context("printing")), Exit::Done);
    }
}
