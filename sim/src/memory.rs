//! The emulator's memory: aligned blocks, and a pool that keeps freed blocks for reuse.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    any::Any,
    collections::HashMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use fp8lm_device::Memory;

/// A whole cache line, so that no two tensors share one.
const ALIGNMENT: usize = 64;

/// Memory of an emulator. It returns to the pool when dropped.
#[derive(Debug)]
pub(crate) struct SimMemory {
    block: Option<Block>,
    bytes: usize,
    pool: Arc<Pool>,
}

impl SimMemory {
    /// The first byte. Whoever reads or writes through it holds the device's lock.
    pub(crate) fn base(&self) -> *mut u8 {
        self.block.as_ref().map_or(std::ptr::dangling_mut(), |block| block.base.as_ptr())
    }

    /// Whether the memory came from `pool`.
    pub(crate) fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }
}

impl Memory for SimMemory {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for SimMemory {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

/// Blocks that were freed, by size.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<HashMap<usize, Vec<Block>>>,
    live_bytes: AtomicUsize,
    system_bytes: AtomicUsize,
}

impl Pool {
    /// A block of at least `bytes` bytes, reused if one of that size is free.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> SimMemory {
        let size = bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        let reused = lock(&self.free).get_mut(&size).and_then(Vec::pop);
        let block = reused.unwrap_or_else(|| self.grow(size));
        self.live_bytes.fetch_add(size, Relaxed);
        SimMemory { block: Some(block), bytes, pool: self.clone() }
    }

    /// Bytes that are in use now.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.load(Relaxed)
    }

    /// Bytes taken from the system so far.
    pub(crate) fn system_bytes(&self) -> usize {
        self.system_bytes.load(Relaxed)
    }

    fn grow(&self, size: usize) -> Block {
        self.system_bytes.fetch_add(size, Relaxed);
        Block::new(size)
    }

    fn give_back(&self, block: Block) {
        self.live_bytes.fetch_sub(block.layout.size(), Relaxed);
        lock(&self.free).entry(block.layout.size()).or_default().push(block);
    }
}

/// The lists stay whole after a panic elsewhere: each operation on them is one call.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An owned allocation, zeroed when it comes from the system.
#[derive(Debug)]
struct Block {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its allocation alone, as a `Box<[u8]>` would.
unsafe impl Send for Block {}
// SAFETY: a shared block hands out its address and nothing else; the device's lock orders every
// access through it.
unsafe impl Sync for Block {}

impl Block {
    fn new(size: usize) -> Self {
        let layout = Layout::from_size_align(size, ALIGNMENT)
            .unwrap_or_else(|_| panic!("a block of {size} bytes fits the address space"));
        // SAFETY: the size is at least `ALIGNMENT`, so it is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
        Self { base, layout }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `base` was allocated in `new` with this layout and is freed here alone.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}
