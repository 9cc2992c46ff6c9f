//! Streams, and events, which are points in them.

use std::{
    fmt,
    ptr::null_mut,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cudarc::driver::sys;

use super::{Context, check};
use crate::error::Result;

/// A queue of work on a GPU.
pub(crate) struct Stream {
    raw: sys::CUstream,
    context: Arc<Context>,
    /// Events that nothing waits for any more: making one costs more than recording it.
    spare: Mutex<Vec<sys::CUevent>>,
}

// SAFETY: the handles are pointers to the driver alone, which may be called from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver orders calls to one stream itself.
unsafe impl Sync for Stream {}

impl Stream {
    /// A new stream, which the default stream of other libraries does not wait for.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Arc<Self>> {
        context.bind()?;
        let mut raw = null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the pointer is to a handle that lives through the call.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&raw mut raw, flags) })?;
        Ok(Arc::new(Self { raw, context: context.clone(), spare: Mutex::default() }))
    }

    /// The context that it is in.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Its handle, for calls that enqueue. Makes the context the calling thread's.
    pub(crate) fn enter(&self) -> Result<sys::CUstream> {
        self.context.bind()?;
        Ok(self.raw)
    }

    /// An event that happens when what was enqueued so far is done.
    pub(crate) fn record(self: &Arc<Self>) -> Result<Event> {
        let stream = self.enter()?;
        let spare = lock(&self.spare).pop();
        let event = Event { raw: spare.map_or_else(new_event, Ok)?, stream: self.clone() };
        // SAFETY: both handles live as long as their values.
        check("cuEventRecord", unsafe { sys::cuEventRecord(event.raw, stream) })?;
        Ok(event)
    }

    /// Later work starts after `event`.
    pub(crate) fn wait(&self, event: &Event) -> Result<()> {
        let stream = self.enter()?;
        // SAFETY: both handles live as long as their values, and the driver keeps of the event what it needs.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(stream, event.raw, 0) })
    }

    /// Waits until what was enqueued so far is done, and reports the first error in it.
    pub(crate) fn synchronize(&self) -> Result<()> {
        let stream = self.enter()?;
        // SAFETY: the handle lives as long as the value.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(stream) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.context.bind();
        for event in lock(&self.spare).drain(..) {
            // SAFETY: it was made by `new_event`, and no value has it any more.
            let _ = unsafe { sys::cuEventDestroy_v2(event) };
        }
        // SAFETY: the handle was made for this value; the driver destroys the stream when its work is done.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:p})", self.raw)
    }
}

/// A point in the work of a stream.
pub(crate) struct Event {
    raw: sys::CUevent,
    stream: Arc<Stream>,
}

// SAFETY: the handle is a pointer to the driver alone, which may be called from any thread.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Whether it has happened. An error says no: it shows where the stream is waited for.
    pub(crate) fn is_done(&self) -> bool {
        let bound = self.stream.context.bind();
        // SAFETY: the handle lives as long as the value.
        bound.is_ok() && unsafe { sys::cuEventQuery(self.raw) } == sys::CUresult::CUDA_SUCCESS
    }

    /// Waits until it has happened.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.stream.context.bind()?;
        // SAFETY: the handle lives as long as the value.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.raw) })
    }
}

impl Drop for Event {
    /// Who waits for it has told the driver already, so that it may be recorded anew.
    fn drop(&mut self) {
        lock(&self.stream.spare).push(self.raw);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({:p})", self.raw)
    }
}

fn new_event() -> Result<sys::CUevent> {
    let mut raw = null_mut();
    let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
    // SAFETY: the pointer is to a handle that lives through the call.
    check("cuEventCreate", unsafe { sys::cuEventCreate(&raw mut raw, flags) })?;
    Ok(raw)
}

/// A list stays whole after a panic elsewhere: each operation on it is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
