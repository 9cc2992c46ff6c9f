//! Working memory that kernels use during a launch, kept from one launch to the next: fresh
//! memory costs a page fault every four kilobytes.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytemuck::{Pod, Zeroable};

/// Buffers that nobody uses now.
#[derive(Debug, Default)]
pub(crate) struct ScratchPool {
    free: Mutex<Vec<Vec<Line>>>,
}

/// A cache line, so that vectors do not straddle two.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

const LINE: usize = 16;

impl ScratchPool {
    /// `len` numbers, whatever they are, aligned to a cache line.
    pub(crate) fn take(&self, len: usize) -> Scratch<'_> {
        let lines = len.div_ceil(LINE);
        let mut buffer = self.smallest_fit(lines).unwrap_or_default();
        if buffer.len() < lines {
            buffer.resize(lines, Line::zeroed());
        }
        Scratch { buffer, len, pool: self }
    }

    /// The smallest free buffer of that length, or else the largest, which will grow.
    fn smallest_fit(&self, lines: usize) -> Option<Vec<Line>> {
        let mut free = self.lock();
        let place = |buffer: &Vec<Line>| (buffer.len() < lines, buffer.len().abs_diff(lines));
        let (index, _) = free.iter().enumerate().min_by_key(|(_, buffer)| place(buffer))?;
        Some(free.swap_remove(index))
    }

    /// The list stays whole after a panic elsewhere: each operation on it is one call.
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Line>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer in use. It returns to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    buffer: Vec<Line>,
    len: usize,
    pool: &'a ScratchPool,
}

impl Deref for Scratch<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.buffer)[..self.len]
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.buffer)[..self.len]
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.pool.lock().push(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused() {
        let pool = ScratchPool::default();
        pool.take(100)[99] = 7.0;
        assert_eq!(pool.take(100)[99], 7.0);
        let (first, second) = (pool.take(10), pool.take(1000));
        assert_eq!((first.len(), second.len()), (10, 1000));
        let address = first.as_ptr();
        drop((first, second));
        assert_eq!(pool.take(20).as_ptr(), address);
        assert_eq!(pool.lock().len(), 2);
    }
}
