//! A communicator that a watchdog may end while others use it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use nccl_rs::{Communicator, Result, Status};

/// A communicator, until it is aborted. It does not block, so nobody holds it for long.
#[derive(Debug)]
pub(super) struct Comm {
    communicator: Mutex<Option<Communicator>>,
    /// Its ranks, as ranks of the world.
    members: Vec<usize>,
}

impl Comm {
    pub(super) fn new(communicator: Communicator, members: Vec<usize>) -> Self {
        Self { communicator: Mutex::new(Some(communicator)), members }
    }

    pub(super) fn members(&self) -> &[usize] {
        &self.members
    }

    /// What `call` does with it; none if it was aborted.
    pub(super) fn with<T>(
        &self,
        call: impl FnOnce(&Communicator) -> Result<T>,
    ) -> Option<Result<T>> {
        self.lock().as_ref().map(call)
    }

    /// Whether it is ready, unless it was aborted or is in use.
    pub(super) fn status(&self) -> Option<Result<Status>> {
        match self.communicator.try_lock() {
            Ok(guard) => guard.as_ref().map(Communicator::async_error),
            Err(TryLockError::Poisoned(guard)) => {
                guard.into_inner().as_ref().map(Communicator::async_error)
            }
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Breaks off what is under way. Nobody is told of errors: it is of no more use anyway.
    pub(super) fn abort(&self) {
        let communicator = self.lock().take();
        let _ = communicator.map(Communicator::abort);
    }

    /// Ends it together with all its ranks, whose work on it is done; without them if they do not come in time.
    pub(super) fn close(&self, deadline: Instant) {
        let mut status = self.with(|communicator| communicator.finalize());
        while matches!(status, Some(Ok(Status::InProgress))) && Instant::now() < deadline {
            thread::sleep(POLL);
            status = self.with(Communicator::async_error);
        }
        // Dropped it is destroyed if it was finalized, and aborted otherwise.
        drop(self.lock().take());
    }

    /// What is behind the lock stays whole after a panic elsewhere: it is only taken away.
    fn lock(&self) -> MutexGuard<'_, Option<Communicator>> {
        self.communicator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const POLL: Duration = Duration::from_millis(1);
