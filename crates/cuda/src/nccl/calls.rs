//! Operations of NCCL on a device's memory.

use std::ffi::c_void;

use fp8lm_device::{DType, Reduction};
use nccl_rs::{Communicator, DataType, Elements, RedOp, Result};

use crate::memory::Bound;

/// Calls on a communicator, which enqueue on a stream of its GPU.
///
/// All memory is a device's own, was told of the stream, and is freed behind its work. Where ranks disagree NCCL waits
/// or fails; it writes no more than it was told to receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'a> {
    pub(super) communicator: &'a Communicator,
    pub(super) stream: nccl_rs::Stream,
}

impl Calls<'_> {
    /// Sends bytes to a rank.
    pub(super) fn send(&self, from: &Bound<'_>, peer: usize) -> Result<()> {
        // SAFETY: the memory holds as many bytes, and is this GPU's, as is the stream, behind which it is freed.
        let sent = unsafe { self.communicator.send(self.stream, start(from), bytes(from), peer) };
        sent.map(drop)
    }

    /// Receives bytes from a rank.
    pub(super) fn receive(&self, to: &Bound<'_>, peer: usize) -> Result<()> {
        // SAFETY: as of `send`.
        let received = unsafe { self.communicator.recv(self.stream, start(to), bytes(to), peer) };
        received.map(drop)
    }

    /// Gives every rank the bytes of the root, in place.
    pub(super) fn broadcast(&self, x: &Bound<'_>, root: usize) -> Result<()> {
        let (at, elements) = (start(x), bytes(x));
        // SAFETY: as of `send`; it works in place.
        unsafe { self.communicator.broadcast(self.stream, at, at, elements, root) }.map(drop)
    }

    /// Gives every rank the bytes of each. `parts` lie one after the other and have one length; `own` is this rank's.
    pub(super) fn all_gather(&self, parts: &[Bound<'_>], own: usize) -> Result<()> {
        let (to, from, elements) = (start(&parts[0]), start(&parts[own]), bytes(&parts[own]));
        // SAFETY: as of `send`; parts of all ranks lie from the first on, and in place this rank's is among them.
        unsafe { self.communicator.all_gather(self.stream, from, to, elements) }.map(drop)
    }

    /// Reduces elements of all ranks, in place.
    pub(super) fn all_reduce(&self, x: &Bound<'_>, how: Reducing) -> Result<()> {
        let (at, elements) = (start(x), how.elements(x));
        // SAFETY: as of `send`; it works in place.
        unsafe { self.communicator.all_reduce(self.stream, at, at, elements, how.op) }.map(drop)
    }

    /// Reduces elements of all ranks for the root, in place.
    pub(super) fn reduce(&self, x: &Bound<'_>, how: Reducing, root: usize) -> Result<()> {
        let (at, elements) = (start(x), how.elements(x));
        // SAFETY: as of `send`; it works in place.
        unsafe { self.communicator.reduce(self.stream, at, at, elements, how.op, root) }.map(drop)
    }

    /// Reduces the parts of all ranks, each for its rank. They lie as in [`all_gather`](Self::all_gather).
    pub(super) fn reduce_scatter(
        &self,
        parts: &[Bound<'_>],
        own: usize,
        how: Reducing,
    ) -> Result<()> {
        let (from, to, elements) =
            (start(&parts[0]), start(&parts[own]), how.elements(&parts[own]));
        // SAFETY: as of `all_gather`.
        unsafe { self.communicator.reduce_scatter(self.stream, from, to, elements, how.op) }
            .map(drop)
    }
}

/// How elements become one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reducing {
    data_type: DataType,
    op: RedOp,
}

impl Reducing {
    /// None if NCCL has no such type.
    pub(super) fn new(dtype: DType, reduction: Reduction) -> Option<Self> {
        let data_type = match dtype {
            DType::F32 => DataType::F32,
            DType::F64 => DataType::F64,
            DType::F16 => DataType::F16,
            DType::BF16 => DataType::Bf16,
            DType::E4M3 => DataType::F8E4M3,
            DType::E5M2 => DataType::F8E5M2,
            DType::U32 => DataType::U32,
            DType::U64 => DataType::U64,
            DType::U8 => DataType::U8,
            _ => return None,
        };
        // Never the mean: NCCL would round it once more, at a place of its own choice.
        let op = match reduction {
            Reduction::Sum => RedOp::Sum,
            Reduction::Product => RedOp::Prod,
            Reduction::Minimum => RedOp::Min,
            Reduction::Maximum => RedOp::Max,
        };
        Some(Self { data_type, op })
    }

    fn elements(self, x: &Bound<'_>) -> Elements {
        Elements::new(x.bytes() / self.data_type.bytes(), self.data_type)
    }
}

fn bytes(x: &Bound<'_>) -> Elements {
    Elements::new(x.bytes(), DataType::U8)
}

fn start(x: &Bound<'_>) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(x.address() as usize)
}
