//! A failure of one rank, told to all by way of the store: NCCL would tell them late, and not why.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::Result;
use fp8lm_device::{Link, LinkError};
use fp8lm_rendezvous::Store;

use crate::exit::Exit;

/// Does `body`. If it fails, all others hear of it; and if another rank fails, or is lost, the link ends with that.
pub(super) fn shared<T>(
    store: &Store,
    link: &dyn Link,
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| listen(store, link, &has_ended));
        let done = body();
        has_ended.store(true, Relaxed);
        done.inspect_err(|error| tell(store, link, error))
    })
}

/// Listens until this rank has ended, or another fails.
fn listen(store: &Store, link: &dyn Link, has_ended: &AtomicBool) {
    while !has_ended.load(Relaxed) {
        let error = match store.get_within(FAILURE, SLICE) {
            Ok(None) => continue,
            Ok(Some(told)) => parse(&String::from_utf8_lossy(&told)),
            Err(error) => lost(link.rank(), error.to_string()),
        };
        return link.abort(error);
    }
}

/// Only the first to fail is heard; and without the link nobody waits for this rank, nor it for others.
fn tell(store: &Store, link: &dyn Link, error: &anyhow::Error) {
    let (rank, reason) = (link.rank(), error.to_string());
    let is_final = Exit::of(error) == Exit::Failed;
    let mark = if is_final { FINAL } else { "" };
    let _ = store.set(FAILURE, format!("{mark}{rank} {reason}").as_bytes());
    link.abort(LinkError::RankFailed { rank, reason });
}

/// What a rank has told.
fn parse(told: &str) -> LinkError {
    let (is_final, told) = told.strip_prefix(FINAL).map_or((false, told), |told| (true, told));
    let (rank, reason) = told.split_once(' ').unwrap_or(("", told));
    let (rank, reason) = (rank.parse().unwrap_or(0), reason.to_owned());
    if is_final { LinkError::RankFailed { rank, reason } } else { lost(rank, reason) }
}

/// Another start may go better.
fn lost(rank: usize, reason: String) -> LinkError {
    LinkError::Transport { rank, doing: "training".into(), reason }
}

/// The key of a failure.
const FAILURE: &str = "failure";
/// Begins one that would come again.
const FINAL: &str = "!";
/// How long a question to the store may keep others from asking.
const SLICE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_read_as_it_was_told() {
        let told = parse("!3 the disk is full");
        assert_eq!(told.to_string(), "rank 3 failed: the disk is full");
        assert_eq!(Exit::of(&told.into()), Exit::Failed);
        let told = parse("1 rank 1 waited in vain");
        assert_eq!(told.to_string(), "rank 1 in training: rank 1 waited in vain");
        assert_eq!(Exit::of(&told.into()), Exit::Again);
    }
}
