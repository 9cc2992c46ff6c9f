//! The life of a rank: its link, what it does with it, and an end that all ranks come to.

use std::{
    any::Any,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use fp8lm_device::{Device, Link, LinkError};

use crate::{
    Transport,
    hub::{Ending, Hub},
    link::MessageLink,
    state::State,
};

/// How long ranks wait for one another.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// In an exchange, and at the end of a run that went well.
    pub timeout: Duration,
    /// At the end of one that did not.
    pub grace: Duration,
}

impl Default for Options {
    /// Ten minutes, and ten seconds.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(600), grace: Duration::from_secs(10) }
    }
}

/// Why a rank's part in a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError<E> {
    /// It returned an error.
    #[error("{error:#}")]
    Failed {
        /// What it returned.
        error: E,
        /// Ranks that have not ended with it.
        missing: Vec<usize>,
    },
    /// It panicked.
    #[error("it panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
        /// Ranks that have not ended with it.
        missing: Vec<usize>,
    },
    /// It did its part, and others did not, or did something else.
    #[error("{error}")]
    Link {
        /// What all ranks end with.
        error: Box<LinkError>,
        /// Ranks that have not ended with it.
        missing: Vec<usize>,
    },
}

impl<E> RunError<E> {
    /// Ranks that have not ended with this one, so that the transport is open still: only the end of the process, or
    /// the transport's own means, reach them.
    pub fn missing(&self) -> &[usize] {
        match self {
            RunError::Failed { missing, .. }
            | RunError::Panicked { missing, .. }
            | RunError::Link { missing, .. } => missing,
        }
    }
}

/// Does `body` as one rank among those that `transport` connects, which all call this. If one fails, so do the
/// exchanges of all, with one error.
///
/// It returns once all ranks are done or, after a failure, when [`Options::grace`] is over.
pub fn run<T, E: Display>(
    transport: Box<dyn Transport>,
    device: Arc<dyn Device>,
    options: &Options,
    body: impl FnOnce(Arc<dyn Link>) -> Result<T, E>,
) -> Result<T, RunError<E>> {
    let hub = Arc::new(Hub::new(State::new(transport), device, options.timeout));
    thread::scope(|scope| {
        let courier = thread::Builder::new().name("courier".into());
        // Without one messages take longer, and arrive all the same.
        let _ = courier.spawn_scoped(scope, || hub.carry());
        let lived = live(&hub, options, body);
        hub.dismiss();
        lived
    })
}

/// A rank from its link to its end.
fn live<T, E: Display>(
    hub: &Arc<Hub>,
    options: &Options,
    body: impl FnOnce(Arc<dyn Link>) -> Result<T, E>,
) -> Result<T, RunError<E>> {
    let link = Arc::new(MessageLink::new(hub.clone()));
    // What others see of a rank that panics is behind locks that stay usable.
    let outcome = catch_unwind(AssertUnwindSafe(|| body(link)));
    let reason = match &outcome {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(panic) => Some(format!("it panicked: {}", message(&**panic))),
    };
    let rank = hub.rank;
    reason.into_iter().for_each(|reason| hub.abort(LinkError::RankFailed { rank, reason }));
    let Ending { failure, missing, .. } = end(hub, options.grace);
    match (outcome, failure) {
        (Ok(Ok(value)), None) => Ok(value),
        (Ok(Ok(_)), Some(error)) => Err(RunError::Link { error: Box::new(error), missing }),
        (Ok(Err(error)), _) => Err(RunError::Failed { error, missing }),
        (Err(panic), _) => Err(RunError::Panicked { message: message(&*panic), missing }),
    }
}

/// Waits for all to end, and closes the transport if they do.
fn end(hub: &Hub, grace: Duration) -> Ending {
    let mut ending = hub.end(grace);
    if ending.is_over {
        let closed = hub.lock().close();
        ending.failure = ending.failure.or(closed.err());
    }
    ending
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_owned())
}
