//! The emulator's memory: aligned blocks, and a pool that keeps freed blocks for reuse.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    any::Any,
    collections::HashMap,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use fp8lm_device::Memory;
use memmap2::MmapMut;

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
    /// A block of at least `bytes` bytes, reused if one of its size class is free; none if the
    /// system has no more.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<SimMemory> {
        let size = size_class(bytes)?;
        let reused = lock(&self.free).get_mut(&size).and_then(Vec::pop);
        let block = reused.or_else(|| self.grow(size))?;
        self.live_bytes.fetch_add(size, Relaxed);
        Some(SimMemory { block: Some(block), bytes, pool: self.clone() })
    }

    /// Bytes that are in use now.
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.load(Relaxed)
    }

    /// Bytes taken from the system so far.
    pub(crate) fn system_bytes(&self) -> usize {
        self.system_bytes.load(Relaxed)
    }

    fn grow(&self, size: usize) -> Option<Block> {
        let block = Block::new(size)?;
        self.system_bytes.fetch_add(size, Relaxed);
        Some(block)
    }

    fn give_back(&self, block: Block) {
        self.live_bytes.fetch_sub(block.size, Relaxed);
        lock(&self.free).entry(block.size).or_default().push(block);
    }
}

/// The next of eight sizes an octave, so that tensors of many lengths share few lists.
fn size_class(bytes: usize) -> Option<usize> {
    let step = (bytes.checked_next_power_of_two()? / 8).max(ALIGNMENT);
    bytes.max(1).checked_next_multiple_of(step)
}

/// The lists stay whole after a panic elsewhere: each operation on them is one call.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An owned allocation, zeroed when it comes from the system.
#[derive(Debug)]
struct Block {
    base: NonNull<u8>,
    size: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Heap(Layout),
    /// Its owner, which gives it back.
    Pages(#[expect(dead_code, reason = "it is kept to be dropped")] MmapMut),
}

// SAFETY: a block owns its allocation alone, as a `Box<[u8]>` would.
unsafe impl Send for Block {}
// SAFETY: a shared block hands out its address and nothing else; the device's lock orders every
// access through it.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `size` bytes, none of it if `size` is 0 or the system refuses.
    fn new(size: usize) -> Option<Self> {
        if size < LARGE { Self::heap(size) } else { Self::pages(size) }
    }

    fn heap(size: usize) -> Option<Self> {
        let layout = Layout::from_size_align(size, ALIGNMENT).ok().filter(|_| size > 0)?;
        // SAFETY: the size was just seen not to be zero.
        let base = unsafe { alloc_zeroed(layout) };
        Some(Self { base: NonNull::new(base)?, size, source: Source::Heap(layout) })
    }

    /// Huge pages where the system has them: reading through small ones is up to half as fast.
    fn pages(size: usize) -> Option<Self> {
        let mut map = MmapMut::map_anon(size).ok()?;
        // Without the advice it is memory all the same.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Self { base: NonNull::new(map.as_mut_ptr())?, size, source: Source::Pages(map) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Source::Heap(layout) = self.source {
            // SAFETY: `base` was allocated in `heap` with this layout and is freed here alone.
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}

/// Two huge pages: of a block from there on at most half is not on one.
const LARGE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_block_serves_the_next_of_its_class() {
        let pool = Arc::<Pool>::default();
        let first = pool.take(1000).unwrap().base();
        assert_eq!(pool.take(1020).unwrap().base(), first);
        assert_eq!((pool.system_bytes(), pool.live_bytes()), (1024, 0));
    }

    #[test]
    fn what_no_machine_has_is_none() {
        assert!(Arc::<Pool>::default().take(usize::MAX).is_none());
        assert!(Arc::<Pool>::default().take(usize::MAX / 2).is_none());
    }

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for bytes in (513..1 << 20).step_by(511) {
            let size = size_class(bytes).unwrap();
            assert!(size >= bytes && size - bytes <= bytes / 4, "{bytes} bytes in {size}");
        }
    }
}
