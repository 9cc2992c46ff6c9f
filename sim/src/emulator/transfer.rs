//! Messages: copies from one emulator's memory into another's.

use std::{
    ops::Range,
    sync::{
        MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use fp8lm_device::{Device, Label, Result, Stream, View};
use xxhash_rust::xxh3::xxh3_64;

use super::{Emulator, expect_length};
use crate::{args::address, workers::Workers};

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wire {
    /// Both sides hash it.
    pub(crate) checksums: bool,
    /// This bit arrives flipped, if the message is long enough.
    pub(crate) damage: Option<usize>,
}

impl Emulator {
    /// Whether work on `stream` may use `view`.
    pub(crate) fn expect_own(
        &self,
        operation: &'static str,
        stream: Stream,
        view: &View,
    ) -> Result<()> {
        self.expect_stream(operation, stream)?;
        address(view, operation, &self.pool).map(drop)
    }

    /// A copy of `view` in memory of its own.
    pub(crate) fn duplicate(&self, stream: Stream, view: &View) -> Result<View> {
        let memory = self.alloc(stream, view.bytes(), SENT)?;
        let copy = View::new(memory, view.dtype(), view.elements());
        self.copy(stream, view, &copy)?;
        Ok(copy)
    }

    /// Copies `from`, of `sender`, to `to`, which has the same length, with all threads if it is long. False if the two
    /// sides have different checksums. What a device sends to itself is on no wire, so nothing happens to it.
    pub(crate) fn receive(
        &self,
        to: &View,
        sender: &Emulator,
        from: &View,
        wire: Wire,
    ) -> Result<bool> {
        expect_length("exchange", to.bytes(), from.bytes())?;
        let source = address(from, "exchange", &sender.pool)?;
        let target = address(to, "exchange", &self.pool)?;
        if std::ptr::eq(self, sender) {
            return self.copy(Stream(0), from, to).map(|()| true);
        }
        let (workers, _sender) = lock_both(self, sender);
        // SAFETY: the view lies within live memory of the sender's pool, which was zeroed when it was taken from the
        // system, and the lock keeps every other access away.
        let from = unsafe { std::slice::from_raw_parts(source, from.bytes()) };
        // SAFETY: as above, with this device's pool and lock. Two pools share no memory.
        let to = unsafe { std::slice::from_raw_parts_mut(target, to.bytes()) };
        Ok(wire.carry(from, to, &workers))
    }
}

/// The locks of two devices, that of the lower address first: whoever takes two takes them in one order.
fn lock_both<'a>(
    one: &'a Emulator,
    two: &'a Emulator,
) -> (MutexGuard<'a, Workers>, MutexGuard<'a, Workers>) {
    if std::ptr::from_ref(one) < std::ptr::from_ref(two) {
        let one = one.lock();
        (one, two.lock())
    } else {
        let two = two.lock();
        (one.lock(), two)
    }
}

impl Wire {
    fn carry(self, from: &[u8], to: &mut [u8], workers: &Workers) -> bool {
        let intact = AtomicBool::new(true);
        workers.rows(to.len(), SHARE, to, |range, to| {
            if !self.carry_share(range.start, &from[range], to) {
                intact.store(false, Relaxed);
            }
        });
        intact.into_inner()
    }

    /// Carries what stands from byte `start` on.
    fn carry_share(self, start: usize, from: &[u8], to: &mut [u8]) -> bool {
        if !self.checksums && self.damage.is_none() {
            to.copy_from_slice(from);
            return true;
        }
        let mut intact = true;
        let blocks = from.chunks(BLOCK).zip(to.chunks_mut(BLOCK));
        for (index, (from, to)) in blocks.enumerate() {
            to.copy_from_slice(from);
            let first = start + index * BLOCK;
            self.strike(first..first + to.len(), to);
            intact &= !self.checksums || xxh3_64(from) == xxh3_64(to);
        }
        intact
    }

    /// Flips the damaged bit if it is among `bytes`, which stand at `range`.
    fn strike(self, range: Range<usize>, bytes: &mut [u8]) {
        let Some(bit) = self.damage.filter(|bit| range.contains(&(bit / 8))) else { return };
        bytes[bit / 8 - range.start] ^= 1 << (bit % 8);
    }
}

/// What was sent before its receiver came.
const SENT: Label = Label("messages on their way");
/// What a thread copies at once: more than it costs to wake one.
const SHARE: usize = 512 << 10;
/// What is hashed while it is in the nearest cache.
const BLOCK: usize = 16 << 10;
