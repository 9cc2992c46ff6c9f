//! What a thread of the tests allocates, measured.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The bytes that `body` asks for in all, whether or not it gives them back meanwhile.
pub(crate) fn allocated<T>(body: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.get();
    let result = body();
    (result, BYTES.get() - before)
}

/// The system's allocator, with a count for each thread.
struct Counting;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came; the count is a number of this thread that needs
// neither memory nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.set(BYTES.get() + layout.size());
        // SAFETY: the caller keeps `alloc`'s conditions, which are the system's too.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer stems from `alloc` or `realloc` above, and so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        BYTES.set(BYTES.get() + size);
        // SAFETY: the pointer stems from the system's allocator, and the caller keeps `realloc`'s conditions.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_counted() {
        let (vector, bytes) = allocated(|| vec![0u8; 1000]);
        assert_eq!((vector.len(), bytes), (1000, 1000));
        let (_, bytes) = allocated(|| Vec::<u8>::with_capacity(10).reserve_exact(100));
        assert_eq!(bytes, 110);
        assert_eq!(allocated(|| 1 + 1).1, 0);
    }
}
