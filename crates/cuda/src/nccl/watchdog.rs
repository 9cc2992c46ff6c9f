//! Watches communicators and what is under way on them, from a thread of its own.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fp8lm_device::LinkError;

use super::{
    comm::Comm,
    operation::{InFlight, Operation},
    world::Shared,
};
use crate::point::Point;

/// Watches until the world ends.
pub(super) fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = shared.clone();
    thread::Builder::new().name("watchdog".into()).spawn(move || watch(&shared))
}

fn watch(shared: &Arc<Shared>) {
    let interval = (shared.options.timeout / 10).clamp(SHORTEST, LONGEST);
    while !shared.wait_for_end(interval) {
        if let Some(error) = shared.failure() {
            return last_resort(shared, error);
        }
        if let Some(error) = trouble(shared) {
            let _ = shared.fail(error);
        }
    }
}

/// The rank knows of the failure by its next call. If it does not let go in time, it hangs.
fn last_resort(shared: &Shared, error: &LinkError) {
    let has_ended = shared.wait_for_end(shared.options.grace);
    if let Some(give_up) = shared.options.give_up.as_ref().filter(|_| !has_ended) {
        give_up(error);
    }
}

fn trouble(shared: &Shared) -> Option<LinkError> {
    let comms = shared.comms();
    comms.iter().find_map(|comm| reported(shared, comm)).or_else(|| overdue(shared, Instant::now()))
}

/// What NCCL reports of a communicator, with the oldest operation on it.
fn reported(shared: &Shared, comm: &Arc<Comm>) -> Option<LinkError> {
    let error = comm.status()?.err()?;
    let in_flight = shared.in_flight();
    let mut on_it = in_flight.iter().filter(|flight| flight.comm == Arc::as_ptr(comm) as usize);
    let oldest = on_it.find(|flight| !flight.done.is_done()).map(|flight| &flight.operation);
    Some(match oldest {
        Some(operation) => operation.failed(shared.rank, error.to_string()),
        None => {
            let doing = format!("no operation with ranks {:?}", comm.members());
            LinkError::Transport { rank: shared.rank, doing, reason: error.to_string() }
        }
    })
}

/// The first operation that has taken too long. Forgets those that are done.
fn overdue(shared: &Shared, now: Instant) -> Option<LinkError> {
    let mut in_flight = shared.in_flight();
    in_flight.retain(|flight| !flight.done.is_done());
    let (operation, waited) = longest(&mut in_flight, now)?;
    (waited > shared.options.timeout).then(|| shared.timed_out(operation, waited))
}

/// The operation that has been under way for longest.
fn longest<P: Point>(
    in_flight: &mut [InFlight<P>],
    now: Instant,
) -> Option<(&Operation, Duration)> {
    let times = in_flight.iter_mut().filter_map(|flight| {
        let since = flight.started_at(now)?;
        Some((&flight.operation, now.saturating_duration_since(since)))
    });
    // Of several that are as old, the first holds up the others.
    times.reduce(|a, b| if b.1 > a.1 { b } else { a })
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nccl::operation::tests::flight, point::tests::Fake};

    #[test]
    fn the_first_of_those_that_are_late_is_blamed() {
        let (early, late) = (Fake::default(), Fake::default());
        let mut flights = [flight(0, &late), flight(1, &early), flight(2, &early)];
        let begun = Instant::now();
        assert!(longest(&mut flights, begun).is_none(), "none has started");
        early.0.set(true);
        longest(&mut flights, begun);
        late.0.set(true);
        let now = begun + Duration::from_secs(5);
        let (operation, waited) = longest(&mut flights, now).unwrap();
        assert_eq!((operation.tag.number, waited), (1, Duration::from_secs(5)));
    }
}
