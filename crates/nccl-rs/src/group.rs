//! Groups: several operations that start as one.

use std::cell::Cell;

use crate::{Error, Nccl, Result, Status};

impl Nccl {
    /// Starts all that `calls` enqueues on this thread as one operation, when it returns: sends and
    /// receives that wait for one another, operations of several communicators, or many small ones.
    ///
    /// The group is closed even if `calls` fails or panics. Groups may be nested; the outermost starts the
    /// operations. Communicators are made, split and finalized outside of groups.
    ///
    /// # Errors
    /// That of `calls`, or else that of the group's end.
    pub fn group(&self, calls: impl FnOnce() -> Result<()>) -> Result<Status> {
        let group = Group::start(self)?;
        let called = calls();
        let ended = group.end();
        called.and(ended)
    }
}

/// Refuses a call within a group. NCCL would put it off and keep a pointer to the communicator or to where
/// its handle goes, and either could be gone when the group ends.
pub(crate) fn refuse(function: &'static str) -> Result<()> {
    if DEPTH.get() == 0 { Ok(()) } else { Err(Error::InGroup { function }) }
}

struct Group<'a> {
    nccl: &'a Nccl,
}

impl<'a> Group<'a> {
    fn start(nccl: &'a Nccl) -> Result<Self> {
        nccl.start_group()?;
        DEPTH.set(DEPTH.get() + 1);
        Ok(Self { nccl })
    }

    fn end(self) -> Result<Status> {
        let Self { nccl } = self;
        std::mem::forget(self);
        close(nccl)
    }
}

/// Reached by a panic alone, which is what its caller will hear of.
impl Drop for Group<'_> {
    fn drop(&mut self) {
        let _ = close(self.nccl);
    }
}

fn close(nccl: &Nccl) -> Result<Status> {
    DEPTH.set(DEPTH.get() - 1);
    nccl.end_group()
}

thread_local! {
    /// How many groups are open on this thread; NCCL counts them by thread, too.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}
