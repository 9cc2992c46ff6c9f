//! A communicator's life: made, split, asked, ended.

use std::{
    cell::{Cell, RefCell},
    ffi::c_int,
    ptr,
    sync::Arc,
};

use crate::{
    Config, Error, Nccl, Result, Status, UniqueId,
    functions::{Code, Function, RawComm},
    group,
    slot::Slot,
};

/// One rank's end of a set of ranks that exchange data, bound to the GPU that was current when it was made.
///
/// It may move to another thread, but serves one at a time.
///
/// # When it is dropped
/// A finalized communicator that has become ready is destroyed, which takes no time. Any other is
/// *aborted*: operations under way are broken off, and no other rank is waited for, so that dropping
/// neither blocks nor panics even when another rank is gone. To keep the results, wait for the streams
/// first, or [`finalize`](Self::finalize).
#[derive(Debug)]
pub struct Communicator {
    pub(crate) nccl: Nccl,
    slot: Arc<Slot>,
    /// Of splits that NCCL may still be writing to, even if nobody else holds them.
    splits: RefCell<Vec<Arc<Slot>>>,
    is_finalized: Cell<bool>,
}

impl Communicator {
    /// Joins the communicator of that name as one of `world_size` ranks, and waits for all others. The
    /// thread's current CUDA device becomes this rank's, and no other rank may have the same.
    pub fn init_rank(
        nccl: &Nccl,
        unique_id: &UniqueId,
        world_size: usize,
        rank: usize,
    ) -> Result<Self> {
        let function = nccl.functions().comm_init_rank;
        group::refuse(function.name)?;
        let (world_size, rank) = seats(function.name, world_size, rank)?;
        let this = Self::unmade(nccl);
        // SAFETY: the slot outlives the call and, being on the heap, all that NCCL may yet write to it:
        // see `end`.
        let code = unsafe { (function.call)(this.slot.as_ptr(), world_size, *unique_id, rank) };
        nccl.check(function.name, code)?;
        Ok(this)
    }

    /// As [`init_rank`](Self::init_rank), with choices. If these say that nothing blocks, it returns at
    /// once, and [`async_error`](Self::async_error) tells when all ranks have joined.
    ///
    /// # Errors
    /// [`Error::TooOld`] before NCCL 2.14.
    pub fn init_rank_config(
        nccl: &Nccl,
        unique_id: &UniqueId,
        world_size: usize,
        rank: usize,
        config: &Config,
    ) -> Result<Self> {
        let function = nccl.functions().comm_init_rank_config.get(nccl.version())?;
        group::refuse(function.name)?;
        let (world_size, rank) = seats(function.name, world_size, rank)?;
        let this = Self::unmade(nccl);
        let mut config = config.to_raw();
        let slot = this.slot.as_ptr();
        // SAFETY: the slot as above; the raw configuration has the layout and size that it states, and
        // NCCL copies it and the name that it points to before it returns.
        let code = unsafe { (function.call)(slot, world_size, *unique_id, rank, &mut config) };
        nccl.check(function.name, code)?;
        Ok(this)
    }

    /// Makes a communicator of those ranks that state the same color, ordered by key and then by rank.
    /// All ranks must call it; one that states no color gets none. Without choices it has this one's.
    ///
    /// If nothing blocks, the new one comes into being only when *this* one's
    /// [`async_error`](Self::async_error) says that it is ready; until then the new one is in progress.
    ///
    /// # Errors
    /// [`Error::TooOld`] before NCCL 2.18.
    pub fn split(
        &self,
        color: Option<usize>,
        key: usize,
        config: Option<&Config>,
    ) -> Result<Option<Self>> {
        let function = self.nccl.functions().comm_split.get(self.nccl.version())?;
        group::refuse(function.name)?;
        let raw_color = color.map_or(Ok(NO_COLOR), |color| int(function.name, "color", color))?;
        let key = int(function.name, "key", key)?;
        let comm = self.handle(function.name)?;
        let mut config = config.map(Config::to_raw);
        let config = config.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        let new = Self::unmade(&self.nccl);
        self.splits.borrow_mut().push(Arc::clone(&new.slot));
        // SAFETY: `comm` is open. `splits` keeps the new slot until this communicator is ready or closed,
        // and NCCL no longer writes to it. The configuration is as above, or null.
        let code = unsafe { (function.call)(comm, raw_color, key, new.slot.as_ptr(), config) };
        self.nccl.check(function.name, code)?;
        // What the call returned does not tell whether the split is still in progress; this does.
        self.async_error()?;
        Ok(color.is_some().then_some(new))
    }

    /// Whether it is ready, still at what was called last, or failed meanwhile. A communicator that failed
    /// is of no more use: drop it.
    pub fn async_error(&self) -> Result<Status> {
        let function = self.nccl.functions().comm_get_async_error;
        let Some(comm) = self.slot.get() else { return Ok(Status::InProgress) };
        let mut state = 0;
        // SAFETY: `comm` is open; it writes one `ncclResult_t`.
        let code = unsafe { (function.call)(comm, &mut state) };
        self.nccl.check(function.name, code)?;
        let status = self.nccl.check(function.name, state)?;
        if status == Status::Ready {
            self.let_go_of_splits();
        }
        Ok(status)
    }

    /// The number of ranks.
    pub fn size(&self) -> Result<usize> {
        Ok(self.ask(&self.nccl.functions().comm_count)? as usize)
    }

    /// This rank, from 0.
    pub fn rank(&self) -> Result<usize> {
        Ok(self.ask(&self.nccl.functions().comm_user_rank)? as usize)
    }

    /// The number of this rank's CUDA device.
    pub fn device(&self) -> Result<usize> {
        Ok(self.ask(&self.nccl.functions().comm_cu_device)? as usize)
    }

    /// Completes what was enqueued, with all ranks, and frees what they share. Nothing but
    /// [`async_error`](Self::async_error) and the end may follow.
    ///
    /// # Errors
    /// [`Error::TooOld`] before NCCL 2.14.
    pub fn finalize(&self) -> Result<Status> {
        let function = self.nccl.functions().comm_finalize.get(self.nccl.version())?;
        group::refuse(function.name)?;
        let comm = self.handle(function.name)?;
        // SAFETY: `comm` is open.
        let code = unsafe { (function.call)(comm) };
        let status = self.nccl.check(function.name, code)?;
        self.is_finalized.set(true);
        Ok(status)
    }

    /// Frees it. If it was not finalized, this first completes what was enqueued, and so waits for the
    /// other ranks.
    ///
    /// # Errors
    /// One that failed is aborted instead, with its error; and so is one still in progress, with
    /// [`Error::NotReady`].
    pub fn destroy(self) -> Result<()> {
        let function = &self.nccl.functions().comm_destroy;
        match self.async_error()? {
            Status::Ready => self.end(function),
            Status::InProgress => Err(Error::NotReady { function: function.name }),
        }
    }

    /// Breaks off what is under way and frees it, without waiting for any other rank. Where the others do
    /// not abort too, they fail or hang.
    pub fn abort(self) -> Result<()> {
        self.end(&self.nccl.functions().comm_abort)
    }

    /// The open handle, for a call that needs one.
    pub(crate) fn handle(&self, function: &'static str) -> Result<RawComm> {
        self.slot.get().ok_or(Error::NotReady { function })
    }

    fn unmade(nccl: &Nccl) -> Self {
        let slot = Arc::default();
        Self {
            nccl: nccl.clone(),
            slot,
            splits: RefCell::default(),
            is_finalized: Cell::new(false),
        }
    }

    /// Asks for one of the numbers, none of which is negative.
    fn ask(
        &self,
        function: &Function<unsafe extern "C" fn(RawComm, *mut c_int) -> Code>,
    ) -> Result<c_int> {
        let comm = self.handle(function.name)?;
        let mut answer = 0;
        // SAFETY: `comm` is open; it writes one `int`.
        let code = unsafe { (function.call)(comm, &mut answer) };
        match self.nccl.check(function.name, code)? {
            Status::Ready => Ok(answer),
            Status::InProgress => Err(Error::NotReady { function: function.name }),
        }
    }

    /// Ends it once. If NCCL refuses, a thread that makes it or splits it may still run, and the slots that
    /// it writes to stay for good.
    fn end(&self, end: &Function<End>) -> Result<()> {
        let ended = close(&self.nccl, &self.slot, end);
        match ended {
            Ok(()) => self.let_go_of_splits(),
            Err(_) => std::mem::forget((Arc::clone(&self.slot), self.splits.take())),
        }
        ended
    }

    /// Forgets the slots of splits, now that NCCL has written them. Where a new communicator was dropped
    /// before it came into being, this ends it.
    fn let_go_of_splits(&self) {
        for slot in self.splits.take() {
            if Arc::strong_count(&slot) == 1 {
                let _ = close(&self.nccl, &slot, &self.nccl.functions().comm_abort);
            }
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        let functions = self.nccl.functions();
        let is_done = self.is_finalized.get() && self.async_error() == Ok(Status::Ready);
        let end = if is_done { &functions.comm_destroy } else { &functions.comm_abort };
        // There is no one to tell of an error; NCCL itself logs it.
        let _ = self.end(end);
    }
}

/// Ends the communicator whose handle is there.
fn close(nccl: &Nccl, slot: &Slot, end: &Function<End>) -> Result<()> {
    let Some(comm) = slot.take() else { return Ok(()) };
    // SAFETY: the handle was open and is now taken away, so that no other call follows.
    let code = unsafe { (end.call)(comm) };
    nccl.check(end.name, code).map(drop)
}

fn seats(function: &'static str, world_size: usize, rank: usize) -> Result<(c_int, c_int)> {
    Ok((int(function, "world_size", world_size)?, int(function, "rank", rank)?))
}

/// A number as NCCL takes it.
pub(crate) fn int(function: &'static str, argument: &'static str, value: usize) -> Result<c_int> {
    let max = c_int::MAX as usize;
    c_int::try_from(value).map_err(|_| Error::TooLarge { function, argument, value, max })
}

/// `ncclCommDestroy` and `ncclCommAbort`. Both wait for NCCL's thread that makes or splits the communicator.
type End = unsafe extern "C" fn(RawComm) -> Code;

/// `NCCL_SPLIT_NOCOLOR`.
const NO_COLOR: c_int = -1;
