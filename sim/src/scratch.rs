//! Working memory that kernels use during a launch, kept from one launch to the next: fresh
//! memory costs a page fault every four kilobytes.

use std::{
    marker::PhantomData,
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
struct Line([u8; LINE]);

const LINE: usize = 64;

impl ScratchPool {
    /// `len` elements, whatever they are, aligned to a cache line.
    pub(crate) fn take<T: Pod>(&self, len: usize) -> Scratch<'_, T> {
        let lines = (len * size_of::<T>()).div_ceil(LINE);
        let mut buffer = self.smallest_fit(lines).unwrap_or_default();
        if buffer.len() < lines {
            buffer.resize(lines, Line::zeroed());
        }
        Scratch { buffer, len, pool: self, elements: PhantomData }
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
pub(crate) struct Scratch<'a, T> {
    buffer: Vec<Line>,
    len: usize,
    pool: &'a ScratchPool,
    elements: PhantomData<T>,
}

impl<T: Pod> Deref for Scratch<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.buffer);
        bytemuck::cast_slice(&bytes[..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Scratch<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
        bytemuck::cast_slice_mut(&mut bytes[..self.len * size_of::<T>()])
    }
}

impl<T> Drop for Scratch<'_, T> {
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
        pool.take::<f32>(100)[99] = 7.0;
        assert_eq!(pool.take::<f32>(100)[99], 7.0);
        let (first, second) = (pool.take::<f32>(10), pool.take::<[u8; 3]>(4000));
        assert_eq!((first.len(), second.len()), (10, 4000));
        let address = first.as_ptr();
        drop((first, second));
        assert_eq!(pool.take::<f32>(20).as_ptr(), address);
        assert_eq!(pool.lock().len(), 2);
    }
}
