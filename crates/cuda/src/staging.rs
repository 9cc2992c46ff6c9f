//! Uploads by way of memory that the GPU copies from by itself, so that the caller's slice is free at once.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    driver::{Block, Context, Event, Pinned, Stream},
    error::Result,
    point::Point,
};

/// Pinned memory, reused.
#[derive(Debug)]
pub(crate) struct Staging {
    context: Arc<Context>,
    pieces: Mutex<Pieces<Pinned, Event>>,
}

impl Staging {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, pieces: Mutex::default() }
    }

    /// Enqueues a copy of `from` to the bytes of `to` from `offset` on. It waits for earlier uploads if very many of
    /// them are still under way, and for nothing else.
    pub(crate) fn upload(
        &self,
        stream: &Arc<Stream>,
        from: &[u8],
        to: &Block,
        offset: usize,
    ) -> Result<()> {
        let starts = (offset..).step_by(LARGEST);
        for (bytes, start) in from.chunks(LARGEST).zip(starts) {
            let mut piece = self.piece(bytes.len())?;
            piece.fill(bytes);
            // SAFETY: the piece is kept until the event behind the copy, or for ever.
            unsafe { stream.upload(&piece, to.part(start..start + bytes.len())) }?;
            match stream.record() {
                Ok(event) => self.lock().enqueue(piece, event),
                Err(error) => {
                    mem::forget(piece);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn piece(&self, bytes: usize) -> Result<Pinned> {
        let size = size_class(bytes);
        match self.lock().take(size)? {
            Some(piece) => Ok(piece),
            None => Pinned::new(&self.context, size),
        }
    }

    /// The lists stay whole after a panic elsewhere: each operation on them is one call.
    fn lock(&self) -> MutexGuard<'_, Pieces<Pinned, Event>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for (_, event) in &self.lock().under_way {
            // A GPU that has failed copies no more.
            let _ = event.synchronize();
        }
    }
}

/// Pieces of memory: those that are free, and those that are being copied from.
#[derive(Debug)]
struct Pieces<M, P> {
    free: Vec<M>,
    under_way: VecDeque<(M, P)>,
}

impl<M: Sized + Bytes, P: Point> Pieces<M, P> {
    /// A piece of that size, if there is one.
    fn take(&mut self, size: usize) -> Result<Option<M>> {
        while self.under_way.front().is_some_and(|(_, point)| point.is_done()) {
            self.recycle();
        }
        while self.bytes_under_way() + size > LIMIT {
            let Some((_, point)) = self.under_way.front() else { break };
            point.synchronize()?;
            self.recycle();
        }
        let index = self.free.iter().position(|piece| piece.bytes() == size);
        Ok(index.map(|index| self.free.swap_remove(index)))
    }

    fn enqueue(&mut self, piece: M, point: P) {
        self.under_way.push_back((piece, point));
    }

    fn recycle(&mut self) {
        self.free.extend(self.under_way.pop_front().map(|(piece, _)| piece));
    }

    fn bytes_under_way(&self) -> usize {
        self.under_way.iter().map(|(piece, _)| piece.bytes()).sum()
    }
}

impl<M, P> Default for Pieces<M, P> {
    fn default() -> Self {
        Self { free: Vec::new(), under_way: VecDeque::new() }
    }
}

/// What has a size.
trait Bytes {
    fn bytes(&self) -> usize;
}

impl Bytes for Pinned {
    fn bytes(&self) -> usize {
        Pinned::bytes(self)
    }
}

/// Few sizes, so that pieces are found again.
fn size_class(bytes: usize) -> usize {
    bytes.next_power_of_two().clamp(SMALLEST, LARGEST)
}

/// Bytes of the smallest piece.
const SMALLEST: usize = 64 << 10;
/// Bytes of the largest piece; longer slices take several.
const LARGEST: usize = 4 << 20;
/// Bytes that may be under way at once: the host's memory is not the GPU's to fill.
const LIMIT: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::tests::Fake;

    impl Bytes for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    #[test]
    fn a_piece_is_reused_when_it_was_copied() {
        let mut pieces = Pieces::default();
        let point = Fake::default();
        pieces.enqueue(SMALLEST, point.clone());
        assert_eq!(pieces.take(SMALLEST).unwrap(), None, "it is under way");
        point.0.set(true);
        assert_eq!(pieces.take(LARGEST).unwrap(), None, "it is of another size");
        assert_eq!(pieces.take(SMALLEST).unwrap(), Some(SMALLEST));
        assert_eq!(pieces.take(SMALLEST).unwrap(), None, "it is taken");
    }

    #[test]
    fn only_a_lot_under_way_is_waited_for() {
        let mut pieces = Pieces::default();
        let points: Vec<_> = (0..LIMIT / LARGEST).map(|_| Fake::default()).collect();
        for point in &points {
            assert_eq!(pieces.take(LARGEST).unwrap(), None);
            pieces.enqueue(LARGEST, point.clone());
        }
        assert!(points.iter().all(|point| !point.is_done()));
        assert_eq!(pieces.take(LARGEST).unwrap(), Some(LARGEST));
        assert!(points[0].is_done() && !points[1].is_done());
    }

    #[test]
    fn sizes_are_few_and_hold_what_is_asked() {
        assert_eq!(size_class(1), SMALLEST);
        assert_eq!(size_class(SMALLEST + 1), 2 * SMALLEST);
        assert_eq!(size_class(LARGEST), LARGEST);
    }
}
