//! What all links of a rank share: its communicators, what is under way on them, and what has failed.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fp8lm_device::{LinkError, Result};
use nccl_rs::{Communicator, Config, Nccl, Status};

use super::{
    NcclOptions, Seat,
    calls::Calls,
    comm::Comm,
    operation::{InFlight, Operation},
    watchdog,
};
use crate::{CudaDevice, device::Lane, driver, error::failed};

/// A rank's part in the world, until its last link is dropped: then its work is waited for, and what ranks share freed
/// together with all others.
#[derive(Debug)]
pub(super) struct World {
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
}

/// What the links and the watchdog share.
#[derive(Debug)]
pub(super) struct Shared {
    nccl: Nccl,
    pub(super) device: Arc<CudaDevice>,
    pub(super) rank: usize,
    pub(super) options: NcclOptions,
    /// In the order in which all their ranks made them.
    comms: Mutex<Vec<Arc<Comm>>>,
    in_flight: Mutex<Vec<InFlight>>,
    failure: OnceLock<LinkError>,
    has_ended: Mutex<bool>,
    ends: Condvar,
}

impl World {
    /// Joins all other ranks, and starts to watch.
    pub(super) fn join(
        nccl: &Nccl,
        device: &Arc<CudaDevice>,
        seat: &Seat,
        options: NcclOptions,
    ) -> Result<(Self, Arc<Comm>)> {
        device.context().bind().map_err(failed("join"))?;
        let config = Config { blocking: Some(false), ..Config::default() };
        let Seat { unique_id, rank, size } = seat;
        let made = Communicator::init_rank_config(nccl, unique_id, *size, *rank, &config);
        let members: Vec<_> = (0..*size).collect();
        let joining = Operation::making(&members);
        let communicator = made.map_err(|error| joining.refused(*rank, &error))?;
        let shared = Arc::new(Shared {
            nccl: nccl.clone(),
            device: device.clone(),
            rank: *rank,
            options,
            comms: Mutex::default(),
            in_flight: Mutex::default(),
            failure: OnceLock::new(),
            has_ended: Mutex::new(false),
            ends: Condvar::new(),
        });
        let comm = shared.add(communicator, members);
        shared.settle(&comm, &joining, comm.with(Communicator::async_error))?;
        let watchdog = watchdog::start(&shared).map_err(|source| {
            let source = Box::new(source);
            fp8lm_device::Error::Failed { operation: "join", source }
        })?;
        Ok((Self { shared, watchdog: Some(watchdog) }, comm))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for this rank's work, then ends the communicators with their other ranks, in the order in which all have
    /// made them.
    fn close(&self) {
        let deadline = Instant::now() + self.shared.options.timeout;
        while self.shared.check().is_ok() && !self.shared.is_idle() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        for comm in self.shared.comms() {
            let patience = if self.shared.check().is_ok() { PATIENCE } else { Duration::ZERO };
            comm.close(deadline.min(Instant::now() + patience));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A rank that panics waits for nobody.
        if !thread::panicking() {
            self.close();
        }
        self.shared.end();
        // A watchdog that panicked has said so.
        let _ = self.watchdog.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// An error if anything has failed.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |error| Err(error.clone().into()))
    }

    pub(super) fn failure(&self) -> Option<&LinkError> {
        self.failure.get()
    }

    /// A communicator of this rank's, made together with all of `members`.
    pub(super) fn add(&self, communicator: Communicator, members: Vec<usize>) -> Arc<Comm> {
        let comm = Arc::new(Comm::new(communicator, members));
        lock(&self.comms).push(comm.clone());
        comm
    }

    pub(super) fn comms(&self) -> Vec<Arc<Comm>> {
        lock(&self.comms).clone()
    }

    pub(super) fn in_flight(&self) -> MutexGuard<'_, Vec<InFlight>> {
        lock(&self.in_flight)
    }

    /// Enqueues what `calls` calls for, as one operation of NCCL's, and watches it from then on.
    pub(super) fn enqueue(
        self: &Arc<Self>,
        comm: &Arc<Comm>,
        lane: &Lane,
        operation: Operation,
        calls: impl FnOnce(&Calls<'_>) -> nccl_rs::Result<()>,
    ) -> Result<()> {
        self.check()?;
        let name = operation.tag.operation;
        let started = lane.stream.record().map_err(failed(name))?;
        let stream = lane.stream.enter().map_err(failed(name))?.cast();
        let enqueued =
            comm.with(|communicator| self.nccl.group(|| calls(&Calls { communicator, stream })));
        self.settle(comm, &operation, enqueued)?;
        let done = lane.stream.record().map_err(failed(name))?;
        self.watch(comm, operation, started, done);
        self.check()
    }

    /// Waits until NCCL is through with a call, which has returned `status` so far.
    pub(super) fn settle(
        self: &Arc<Self>,
        comm: &Comm,
        operation: &Operation,
        mut status: Option<nccl_rs::Result<Status>>,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            match status {
                Some(Ok(Status::Ready)) => return Ok(()),
                Some(Ok(Status::InProgress)) => {}
                Some(Err(error)) => {
                    return Err(self.fail(operation.refused(self.rank, &error)));
                }
                None => {
                    self.check()?;
                    return Err(self.fail(operation.failed(self.rank, CLOSED.into())));
                }
            }
            self.check()?;
            let waited = begun.elapsed();
            if waited > self.options.timeout {
                return Err(self.fail(self.timed_out(operation, waited)));
            }
            pause(waited);
            status = comm.with(Communicator::async_error);
        }
    }

    pub(super) fn timed_out(&self, operation: &Operation, waited: Duration) -> LinkError {
        let waiting = vec![operation.waiting(self.rank)];
        // Nobody cares for less.
        let waited = Duration::from_millis(waited.as_millis() as u64);
        LinkError::TimedOut { rank: self.rank, waited, waiting }
    }

    /// Ends everything with `error`, unless another came first, which is returned.
    pub(super) fn fail(self: &Arc<Self>, error: LinkError) -> fp8lm_device::Error {
        let first = self.failure.get_or_init(|| error).clone();
        // Whoever waits on the GPU gets the error, and never what was broken off half-way.
        self.device.break_off(&first);
        let shared = self.clone();
        let abort = move || shared.comms().iter().for_each(|comm| comm.abort());
        // NCCL may hang in it, and nobody shall hang with it.
        let _ = thread::Builder::new().name("aborting NCCL".into()).spawn(abort);
        first.into()
    }

    /// Waits for the end of the world, at most `patience`. Whether it has come.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let has_ended = lock(&self.has_ended);
        let waited = self.ends.wait_timeout_while(has_ended, patience, |has_ended| !*has_ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn end(&self) {
        *lock(&self.has_ended) = true;
        self.ends.notify_all();
    }

    fn watch(
        &self,
        comm: &Arc<Comm>,
        operation: Operation,
        started: driver::Event,
        done: driver::Event,
    ) {
        let comm = Arc::as_ptr(comm) as usize;
        self.in_flight().push(InFlight { operation, comm, started, done, since: None });
    }

    fn is_idle(&self) -> bool {
        let mut in_flight = self.in_flight();
        in_flight.retain(|flight| !flight.done.is_done());
        in_flight.is_empty()
    }
}

/// Short at first: most calls are through at once.
fn pause(waited: Duration) {
    if waited < SPIN { thread::yield_now() } else { thread::sleep(POLL) }
}

/// What is behind these locks stays whole after a panic elsewhere: each operation on it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const SPIN: Duration = Duration::from_micros(200);
const POLL: Duration = Duration::from_micros(200);
/// How long others may take to end a communicator.
const PATIENCE: Duration = Duration::from_secs(10);
const CLOSED: &str = "its communicator was closed";
