//! Where NCCL writes a communicator's handle.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::functions::RawComm;

/// Where NCCL writes a communicator's handle: at once, or from a thread of its own when a split that does
/// not block is done. It therefore lives on the heap, behind an `Arc`, and is read atomically.
#[derive(Debug, Default)]
pub(crate) struct Slot(AtomicPtr<std::ffi::c_void>);

impl Slot {
    /// The handle, once it is there.
    pub(crate) fn get(&self) -> Option<RawComm> {
        let comm = self.0.load(Ordering::Acquire);
        (!comm.is_null()).then_some(comm)
    }

    /// Takes the handle away, so that it is closed once.
    pub(crate) fn take(&self) -> Option<RawComm> {
        let comm = self.0.swap(ptr::null_mut(), Ordering::AcqRel);
        (!comm.is_null()).then_some(comm)
    }

    /// Where to write.
    pub(crate) fn as_ptr(&self) -> *mut RawComm {
        self.0.as_ptr()
    }
}
