//! A run: a thread for each rank, and what they end with.

use std::{
    any::Any,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::{self, Scope, ScopedJoinHandle},
};

use super::{Rank, rendezvous::Rendezvous};

/// Why a run failed: what the rank that failed first ended with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// It returned an error.
    #[error("rank {rank} failed: {error:#}")]
    Failed {
        /// The rank.
        rank: usize,
        /// What it returned.
        error: E,
    },
    /// It panicked.
    #[error("rank {rank} panicked: {message}")]
    Panicked {
        /// The rank.
        rank: usize,
        /// What it said.
        message: String,
    },
    /// It got no thread.
    #[error("rank {rank} got no thread: {source}")]
    NoThread {
        /// The rank.
        rank: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl<E: Display> RunError<E> {
    /// Without the rank.
    fn reason(&self) -> String {
        match self {
            RunError::Failed { error, .. } => format!("{error:#}"),
            RunError::Panicked { message, .. } => format!("it panicked: {message}"),
            RunError::NoThread { source, .. } => format!("it got no thread: {source}"),
        }
    }
}

/// Runs `body` on a thread for each of `ranks`.
pub(super) fn run<T: Send, E: Display + Send>(
    rendezvous: &Rendezvous,
    ranks: Vec<Rank>,
    body: &(impl Fn(Rank) -> Result<T, E> + Sync),
) -> Result<Vec<T>, RunError<E>> {
    let mut ends: Vec<_> = thread::scope(|scope| {
        let ranks = ranks.into_iter().enumerate();
        let threads: Vec<_> =
            ranks.map(|(number, rank)| spawn(scope, rendezvous, number, rank, body)).collect();
        threads.into_iter().enumerate().map(|(rank, thread)| join(rank, thread)).collect()
    });
    if let Some(culprit) = rendezvous.culprit() {
        ends.swap(0, culprit);
    }
    ends.into_iter().collect()
}

type Outcome<T, E> = Result<T, RunError<E>>;

fn spawn<'scope, T: Send + 'scope, E: Display + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    rendezvous: &'scope Rendezvous,
    number: usize,
    rank: Rank,
    body: &'scope (impl Fn(Rank) -> Result<T, E> + Sync),
) -> Outcome<ScopedJoinHandle<'scope, Outcome<T, E>>, E> {
    let work = move || end(rendezvous, number, live(number, rank, body));
    let thread = thread::Builder::new().name(format!("rank {number}")).spawn_scoped(scope, work);
    thread
        .or_else(|source| end(rendezvous, number, Err(RunError::NoThread { rank: number, source })))
}

/// Tells the others how a rank ended.
fn end<T, E: Display>(
    rendezvous: &Rendezvous,
    rank: usize,
    outcome: Outcome<T, E>,
) -> Outcome<T, E> {
    rendezvous.end(rank, outcome.as_ref().err().map(RunError::reason));
    outcome
}

fn live<T, E>(number: usize, rank: Rank, body: &impl Fn(Rank) -> Result<T, E>) -> Outcome<T, E> {
    // What the others see of a rank that panics is behind locks that stay usable.
    match catch_unwind(AssertUnwindSafe(|| body(rank))) {
        Ok(result) => result.map_err(|error| RunError::Failed { rank: number, error }),
        Err(panic) => Err(RunError::Panicked { rank: number, message: message(&*panic) }),
    }
}

fn join<T, E>(
    rank: usize,
    thread: Outcome<ScopedJoinHandle<'_, Outcome<T, E>>, E>,
) -> Outcome<T, E> {
    let outcome = thread?.join();
    outcome.unwrap_or_else(|panic| Err(RunError::Panicked { rank, message: message(&*panic) }))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
