//! Memory of the GPU, in the order of streams, and memory of the host that the GPU reaches.

use std::{fmt, ops::Range, ptr::null_mut, sync::Arc};

use cudarc::driver::sys::{self, CUmemPool_attribute as PoolAttribute};

use super::{Context, Stream, check};
use crate::error::Result;

/// The GPU's own pool, told to keep what is freed: giving it back would wait for the whole GPU.
pub(super) fn pool(device: sys::CUdevice) -> Result<sys::CUmemoryPool> {
    let mut pool = null_mut();
    // SAFETY: the pointer is to a handle that lives through the call.
    let result = unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, device) };
    check("cuDeviceGetDefaultMemPool", result)?;
    let mut threshold = u64::MAX;
    let attribute = PoolAttribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: this attribute is a number of 64 bits, which lives through the call.
    let result =
        unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()) };
    check("cuMemPoolSetAttribute", result)?;
    Ok(pool)
}

impl Context {
    /// Bytes that an allocation may still have: what the GPU has free, and what the pool keeps unused.
    pub(crate) fn available(&self) -> Result<usize> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the pointers are to numbers that live through the call.
        let result = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        check("cuMemGetInfo_v2", result)?;
        let reserved = self.pool_bytes(PoolAttribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.pool_bytes(PoolAttribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(free.saturating_add(reserved.saturating_sub(used)))
    }

    /// Gives back to the GPU what the pool keeps unused.
    pub(crate) fn trim(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the pool is the GPU's own and is never destroyed.
        check("cuMemPoolTrimTo", unsafe { sys::cuMemPoolTrimTo(self.pool, 0) })
    }

    fn pool_bytes(&self, attribute: PoolAttribute) -> Result<usize> {
        let mut bytes = 0u64;
        // SAFETY: these attributes are numbers of 64 bits, and this one lives through the call.
        let result =
            unsafe { sys::cuMemPoolGetAttribute(self.pool, attribute, (&raw mut bytes).cast()) };
        check("cuMemPoolGetAttribute", result)?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// Memory of a GPU, allocated and freed in the order of a stream.
///
/// Whoever enqueues work on it elsewhere lets its own stream wait for that work before the block is dropped.
pub(crate) struct Block {
    address: sys::CUdeviceptr,
    bytes: usize,
    stream: Arc<Stream>,
}

impl Block {
    /// `bytes` bytes, their content undefined; none if the GPU has no more.
    pub(crate) fn new(stream: &Arc<Stream>, bytes: usize) -> Result<Option<Self>> {
        let raw = stream.enter()?;
        let mut address = 0;
        // The driver refuses to allocate nothing.
        let size = bytes.max(1);
        // SAFETY: the pointer is to a number that lives through the call, and the stream's handle is its own.
        match unsafe { sys::cuMemAllocAsync(&raw mut address, size, raw) } {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
            result => check("cuMemAllocAsync", result)
                .map(|()| Some(Self { address, bytes, stream: stream.clone() })),
        }
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Has another stream free it, which has waited for all work on it.
    pub(crate) fn free_on(&mut self, stream: &Arc<Stream>) {
        self.stream = stream.clone();
    }

    /// The stream that it is freed on.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// A part of it.
    ///
    /// # Panics
    /// If it does not lie within: views are checked before.
    pub(crate) fn part(&self, range: Range<usize>) -> Part<'_> {
        assert!(
            range.start <= range.end && range.end <= self.bytes,
            "a part lies within its block"
        );
        let address = self.address + range.start as u64;
        Part { address, bytes: range.len(), _block: self }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Nobody is left to hear of an error, and a GPU that has failed frees nothing.
        if let Ok(stream) = self.stream.enter() {
            // SAFETY: the block was allocated for this value alone; its stream has waited for all work on it.
            let _ = unsafe { sys::cuMemFreeAsync(self.address, stream) };
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes at {:#x})", self.bytes, self.address)
    }
}

/// A part of a block, for a call that enqueues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    address: sys::CUdeviceptr,
    bytes: usize,
    _block: &'a Block,
}

impl Stream {
    /// Enqueues a copy of the bytes of `from`, at most `to`'s.
    pub(crate) fn copy(&self, from: Part<'_>, to: Part<'_>) -> Result<()> {
        let bytes = from.bytes.min(to.bytes);
        if bytes == 0 {
            return Ok(());
        }
        let raw = self.enter()?;
        // SAFETY: both parts lie within blocks of the GPU and are as long; the blocks are freed after this stream.
        let result = unsafe { sys::cuMemcpyDtoDAsync_v2(to.address, from.address, bytes, raw) };
        check("cuMemcpyDtoDAsync_v2", result)
    }

    /// Enqueues zeros.
    pub(crate) fn clear(&self, to: Part<'_>) -> Result<()> {
        if to.bytes == 0 {
            return Ok(());
        }
        let raw = self.enter()?;
        // SAFETY: the part lies within a block of the GPU, which is freed after this stream.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(to.address, 0, to.bytes, raw) })
    }

    /// Enqueues a copy of rows of `width` bytes into rows that begin every `pitch` bytes.
    ///
    /// # Panics
    /// If the rows do not fit both parts.
    pub(crate) fn spread(
        &self,
        from: Part<'_>,
        to: Part<'_>,
        width: usize,
        pitch: usize,
    ) -> Result<()> {
        let rows = from.bytes.checked_div(width).unwrap_or(0);
        if rows == 0 {
            return Ok(());
        }
        assert!(width <= pitch && (rows - 1) * pitch + width <= to.bytes, "rows fit their parts");
        let raw = self.enter()?;
        let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: device,
            srcHost: std::ptr::null(),
            srcDevice: from.address,
            srcArray: null_mut(),
            srcPitch: width,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: device,
            dstHost: null_mut(),
            dstDevice: to.address,
            dstArray: null_mut(),
            dstPitch: pitch,
            WidthInBytes: width,
            Height: rows,
        };
        // SAFETY: the rows lie within both parts, as was just seen; the blocks are freed after this stream.
        check("cuMemcpy2DAsync_v2", unsafe { sys::cuMemcpy2DAsync_v2(&raw const copy, raw) })
    }

    /// Enqueues a copy of the first bytes of `from`, as many as `to` has.
    ///
    /// # Safety
    /// `from` is neither written nor freed until the copy is done.
    pub(crate) unsafe fn upload(&self, from: &Pinned, to: Part<'_>) -> Result<()> {
        assert!(to.bytes <= from.bytes, "pinned memory holds what is uploaded");
        let raw = self.enter()?;
        // SAFETY: both sides have as many bytes; the caller keeps the one, and the other is freed after this stream.
        let result =
            unsafe { sys::cuMemcpyHtoDAsync_v2(to.address, from.start.cast(), to.bytes, raw) };
        check("cuMemcpyHtoDAsync_v2", result)
    }

    /// Copies to the host, and waits until the bytes are there and everything before is done.
    ///
    /// # Panics
    /// If the lengths differ.
    pub(crate) fn download(&self, from: Part<'_>, to: &mut [u8]) -> Result<()> {
        assert_eq!(from.bytes, to.len(), "a download fills its slice");
        let raw = self.enter()?;
        if !to.is_empty() {
            let start = to.as_mut_ptr().cast();
            // SAFETY: both sides have as many bytes. To memory of the host that is not pinned the call returns when
            // the copy is done, and the stream is waited for besides, whatever the call said.
            let result = unsafe { sys::cuMemcpyDtoHAsync_v2(start, from.address, to.len(), raw) };
            let waited = self.synchronize();
            check("cuMemcpyDtoHAsync_v2", result)?;
            return waited;
        }
        self.synchronize()
    }
}

/// Memory of the host that stays where it is, so that the GPU copies from it by itself.
pub(crate) struct Pinned {
    start: *mut u8,
    bytes: usize,
    context: Arc<Context>,
}

// SAFETY: it owns its allocation alone, as a `Box<[u8]>` would.
unsafe impl Send for Pinned {}
// SAFETY: a shared value hands its bytes to nobody but the driver, which reads them.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `bytes` bytes, at least one.
    pub(crate) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self> {
        context.bind()?;
        let mut start = null_mut();
        // SAFETY: the pointer is to one that lives through the call.
        check("cuMemAllocHost_v2", unsafe {
            sys::cuMemAllocHost_v2(&raw mut start, bytes.max(1))
        })?;
        Ok(Self { start: start.cast(), bytes, context: context.clone() })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Overwrites its first bytes.
    ///
    /// # Panics
    /// If there are more than it holds.
    pub(crate) fn fill(&mut self, from: &[u8]) {
        assert!(from.len() <= self.bytes, "pinned memory holds what is written");
        // SAFETY: it holds as many bytes, and no slice overlaps an allocation of this value's own.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start, from.len()) };
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.context.bind();
        // SAFETY: it was allocated for this value alone, and whoever enqueued a copy from it has waited.
        let _ = unsafe { sys::cuMemFreeHost(self.start.cast()) };
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({} bytes)", self.bytes)
    }
}
