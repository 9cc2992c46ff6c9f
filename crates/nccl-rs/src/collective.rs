//! Operations that move data between the ranks of a communicator.

use std::ffi::c_void;

use crate::{Communicator, Elements, Error, RedOp, Result, Status, Stream, communicator::int};

/// Operations on device memory. Each is enqueued on a stream and returns before it is done; every rank must
/// call the same ones in the same order, with the same elements, operation and root.
impl Communicator {
    /// Reduces `elements` of all ranks and gives every rank the result. In place if both buffers are one.
    ///
    /// # Safety
    /// - Both buffers hold `elements` in memory that this rank's GPU can reach, and overlap only where
    ///   the operation says that it works in place.
    /// - The stream belongs to this rank's GPU. Until it is past the operation, the buffers stay
    ///   allocated, nobody writes to what is sent, and nobody touches what is received.
    /// - Every rank calls the same operation with the same elements, on some memory and stream that meet
    ///   these conditions.
    /// - Within a group, all this holds until its end, and the communicator stays till then.
    pub unsafe fn all_reduce(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
        op: RedOp,
    ) -> Result<Status> {
        let function = self.nccl.functions().all_reduce;
        let comm = self.handle(function.name)?;
        let Elements { count, data_type } = elements;
        let (data_type, op) = (data_type.to_raw(), op.to_raw());
        // SAFETY: `comm` is open; the caller vouches for buffers and stream.
        let code = unsafe { (function.call)(send, recv, count, data_type, op, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Reduces what all ranks send, which is `elements` for each rank, and gives each rank its part. In
    /// place if `recv` is where this rank's part lies in `send`.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce), but that `send` holds `elements` for each rank.
    pub unsafe fn reduce_scatter(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
        op: RedOp,
    ) -> Result<Status> {
        let function = self.nccl.functions().reduce_scatter;
        let comm = self.handle(function.name)?;
        let Elements { count, data_type } = elements;
        let (data_type, op) = (data_type.to_raw(), op.to_raw());
        // SAFETY: `comm` is open; the caller vouches for buffers and stream.
        let code = unsafe { (function.call)(send, recv, count, data_type, op, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Gives every rank the `elements` of each, one after the other. In place if `send` is where this
    /// rank's part lies in `recv`.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce), but that `recv` holds `elements` from each rank.
    pub unsafe fn all_gather(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
    ) -> Result<Status> {
        let function = self.nccl.functions().all_gather;
        let comm = self.handle(function.name)?;
        let Elements { count, data_type } = elements;
        // SAFETY: `comm` is open; the caller vouches for buffers and stream.
        let code = unsafe { (function.call)(send, recv, count, data_type.to_raw(), comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Gives every rank the `elements` of the root. In place if both buffers are one.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce); `send` is read on the root alone.
    pub unsafe fn broadcast(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
        root: usize,
    ) -> Result<Status> {
        let function = self.nccl.functions().broadcast;
        let comm = self.handle(function.name)?;
        let root = int(function.name, "root", root)?;
        let Elements { count, data_type } = elements;
        let data_type = data_type.to_raw();
        // SAFETY: `comm` is open; the caller vouches for buffers and stream.
        let code = unsafe { (function.call)(send, recv, count, data_type, root, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Reduces `elements` of all ranks and gives the root the result. In place if both buffers are one.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce); `recv` is written on the root alone.
    pub unsafe fn reduce(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
        op: RedOp,
        root: usize,
    ) -> Result<Status> {
        let function = self.nccl.functions().reduce;
        let comm = self.handle(function.name)?;
        let root = int(function.name, "root", root)?;
        let Elements { count, data_type } = elements;
        let (data_type, op) = (data_type.to_raw(), op.to_raw());
        // SAFETY: `comm` is open; the caller vouches for buffers and stream.
        let code = unsafe { (function.call)(send, recv, count, data_type, op, root, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Sends `elements` to another rank, which must receive them. Sends and receives that wait for one
    /// another belong in a [group](crate::Nccl::group).
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce), for this rank's `send` and the other's `recv`.
    pub unsafe fn send(
        &self,
        stream: Stream,
        send: *const c_void,
        elements: Elements,
        peer: usize,
    ) -> Result<Status> {
        let function = self.nccl.functions().send;
        let comm = self.handle(function.name)?;
        let peer = int(function.name, "peer", peer)?;
        let Elements { count, data_type } = elements;
        // SAFETY: `comm` is open; the caller vouches for buffer and stream.
        let code = unsafe { (function.call)(send, count, data_type.to_raw(), peer, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Receives `elements` from another rank, which must send them.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce), for this rank's `recv` and the other's `send`.
    pub unsafe fn recv(
        &self,
        stream: Stream,
        recv: *mut c_void,
        elements: Elements,
        peer: usize,
    ) -> Result<Status> {
        let function = self.nccl.functions().recv;
        let comm = self.handle(function.name)?;
        let peer = int(function.name, "peer", peer)?;
        let Elements { count, data_type } = elements;
        // SAFETY: `comm` is open; the caller vouches for buffer and stream.
        let code = unsafe { (function.call)(recv, count, data_type.to_raw(), peer, comm, stream) };
        self.nccl.check(function.name, code)
    }

    /// Sends `elements` to every rank and receives as many from each, as a group of sends and receives.
    /// In both buffers the parts lie one after the other, by rank.
    ///
    /// # Safety
    /// As of [`all_reduce`](Self::all_reduce), but that both buffers hold `elements` for each rank; it
    /// does not work in place.
    pub unsafe fn all_to_all(
        &self,
        stream: Stream,
        send: *const c_void,
        recv: *mut c_void,
        elements: Elements,
    ) -> Result<Status> {
        let size = self.size()?;
        let bytes = part_bytes(elements, size)?;
        self.nccl.group(|| {
            for peer in 0..size {
                let (from, to) =
                    (send.wrapping_byte_add(peer * bytes), recv.wrapping_byte_add(peer * bytes));
                // SAFETY: the caller vouches for the stream, and that both buffers hold a part for each
                // of these ranks; every rank runs this same loop, so that each send has its receive.
                unsafe {
                    self.send(stream, from, elements, peer)?;
                    self.recv(stream, to, elements, peer)?;
                }
            }
            Ok(())
        })
    }
}

/// Bytes of one rank's part, if those of all can be counted.
fn part_bytes(elements: Elements, size: usize) -> Result<usize> {
    let Elements { count, data_type } = elements;
    let max = usize::MAX / data_type.bytes() / size.max(1);
    if count > max {
        return Err(Error::TooLarge {
            function: "all_to_all",
            argument: "count",
            value: count,
            max,
        });
    }
    Ok(count * data_type.bytes())
}
