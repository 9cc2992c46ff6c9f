//! A launch's memory copied, every argument into an allocation of its own: what lies beyond its end is nobody's, and a
//! sanitizer sees who goes there.

use std::slice;

use fp8lm_device::{Arg, Launch, View};

/// Copies of the memory of a launch.
#[derive(Debug)]
pub(crate) struct Exact<'a> {
    launch: &'a Launch,
    originals: &'a [u64],
    /// Of every argument; of a number nothing.
    copies: Vec<Box<[u8]>>,
}

impl<'a> Exact<'a> {
    /// Copies what lies at the addresses of a launch's arguments.
    ///
    /// # Safety
    /// The bytes of every view lie at its address, and nothing else accesses them while this value lives.
    pub(crate) unsafe fn copy(launch: &'a Launch, originals: &'a [u64]) -> Self {
        let copy = |(arg, address): (&Arg, &u64)| {
            let bytes = arg.view().map_or(0, View::bytes);
            if bytes == 0 {
                return Box::default();
            }
            // SAFETY: the caller promises these bytes at the address, and that nothing writes them.
            unsafe { slice::from_raw_parts(pointer(*address), bytes) }.into()
        };
        let copies = launch.args().iter().zip(originals).map(copy).collect();
        Self { launch, originals, copies }
    }

    /// Where the copies are.
    pub(crate) fn addresses(&mut self) -> Vec<u64> {
        let address = |copy: &mut Box<[u8]>| copy.as_mut_ptr().expose_provenance() as u64;
        self.copies.iter_mut().map(address).collect()
    }

    /// Writes back what the launch may have written.
    pub(crate) fn write_back(self) {
        let written = self.launch.args().iter().map(|arg| arg.is_written());
        for ((copy, original), is_written) in self.copies.iter().zip(self.originals).zip(written) {
            if is_written && !copy.is_empty() {
                // SAFETY: as many bytes were read there, and by the promise of `copy` nothing else accesses them.
                unsafe { copy.as_ptr().copy_to_nonoverlapping(pointer(*original), copy.len()) };
            }
        }
    }
}

/// Memory whose owner has exposed its address.
fn pointer(address: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address as usize)
}
