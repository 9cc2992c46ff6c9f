//! Buffers on huge pages, so that no measurement is one of page tables.

use std::{
    io,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Zeros on pages of two megabytes, where the system has them.
#[derive(Debug)]
pub struct Pages<T>(MmapMut, PhantomData<T>);

impl<T: Pod> Pages<T> {
    /// `len` elements.
    pub fn new(len: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(len * size_of::<T>())?;
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage)?;
        let mut pages = Self(map, PhantomData);
        pages.fill(T::zeroed());
        Ok(pages)
    }
}

impl<T: Pod> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.0)
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}
