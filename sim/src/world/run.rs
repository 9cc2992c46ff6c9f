//! A run: a thread for each rank, and what they end with.

use std::{
    any::Any,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, Scope, ScopedJoinHandle},
};

use super::{Rank, device::RankDevice, rendezvous::Rendezvous};

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
    /// Work that it left in its streams failed.
    #[error("rank {rank} failed in the work that it left: {error}")]
    Device {
        /// The rank.
        rank: usize,
        /// What the device said.
        error: Box<fp8lm_device::Error>,
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
            RunError::Device { error, .. } => error.to_string(),
            RunError::NoThread { source, .. } => format!("it got no thread: {source}"),
        }
    }
}

/// Runs `body` on a thread for each of `devices`.
pub(super) fn run<T: Send, E: Display + Send>(
    rendezvous: &Arc<Rendezvous>,
    devices: &[RankDevice],
    body: &(impl Fn(Rank) -> Result<T, E> + Sync),
) -> Result<Vec<T>, RunError<E>> {
    let mut ends: Vec<_> = thread::scope(|scope| {
        let lives =
            devices.iter().enumerate().map(|(rank, device)| Life { rendezvous, device, rank });
        let threads: Vec<_> = lives.map(|life| life.spawn(scope, body)).collect();
        threads.into_iter().enumerate().map(|(rank, thread)| join(rank, thread)).collect()
    });
    if let Some(culprit) = rendezvous.culprit() {
        ends.swap(0, culprit);
    }
    let values = ends.into_iter().collect::<Result<_, _>>()?;
    rendezvous.unreceived().map_or(Ok(values), |(rank, error)| {
        Err(RunError::Device { rank, error: Box::new(error.into()) })
    })
}

type Outcome<T, E> = Result<T, RunError<E>>;
type Thread<'scope, T, E> = ScopedJoinHandle<'scope, Outcome<T, E>>;

/// A rank from its start to its end.
#[derive(Clone, Copy)]
struct Life<'a> {
    rendezvous: &'a Arc<Rendezvous>,
    device: &'a RankDevice,
    rank: usize,
}

impl<'a> Life<'a> {
    fn spawn<'scope, T: Send + 'scope, E: Display + Send + 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        body: &'scope (impl Fn(Rank) -> Result<T, E> + Sync),
    ) -> Outcome<Thread<'scope, T, E>, E>
    where
        'a: 'scope,
    {
        let thread = thread::Builder::new().name(format!("rank {}", self.rank));
        let thread = thread.spawn_scoped(scope, move || self.end(self.live(body)));
        thread.or_else(|source| self.end(Err(RunError::NoThread { rank: self.rank, source })))
    }

    fn live<T, E>(self, body: &impl Fn(Rank) -> Result<T, E>) -> Outcome<T, E> {
        let rank = self.rank;
        let live = || {
            let value = body(self.device.rank(self.rendezvous, rank));
            let value = value.map_err(|error| RunError::Failed { rank, error })?;
            self.device
                .finish()
                .map_err(|error| RunError::Device { rank, error: Box::new(error) })?;
            Ok(value)
        };
        // What the others see of a rank that panics is behind locks that stay usable.
        let caught = catch_unwind(AssertUnwindSafe(live));
        caught.unwrap_or_else(|panic| Err(RunError::Panicked { rank, message: message(&*panic) }))
    }

    /// Tells the others how it ended.
    fn end<T, E: Display>(self, outcome: Outcome<T, E>) -> Outcome<T, E> {
        self.rendezvous.end(self.rank, outcome.as_ref().err().map(RunError::reason));
        self.device.clear();
        outcome
    }
}

fn join<T, E>(rank: usize, thread: Outcome<Thread<'_, T, E>, E>) -> Outcome<T, E> {
    let outcome = thread?.join();
    outcome.unwrap_or_else(|panic| Err(RunError::Panicked { rank, message: message(&*panic) }))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
