//! What one rank does in a collective, as data.

use std::ops::Range;

use fp8lm_device::View;

/// One step of a rank, over chunks of what is reduced or moved. Steps are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Transfers that go on all at once.
    Exchange {
        /// What goes to others.
        sends: Vec<Send>,
        /// What comes from others.
        receives: Vec<Receive>,
    },
    /// The chunk becomes the reduction of itself and of what came into the slot, rounded to its type.
    Combine {
        /// The chunk.
        chunk: usize,
        /// The slot.
        slot: usize,
    },
    /// The chunk becomes the reduction of all slots, one for each rank, ascending, in f32, and is rounded once.
    Reduce {
        /// The chunk.
        chunk: usize,
    },
}

/// A chunk that goes to a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// The rank, which may be the sender.
    pub to: usize,
    /// The chunk.
    pub chunk: usize,
}

/// A chunk that comes from a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// The rank, which may be the receiver.
    pub from: usize,
    /// The chunk.
    pub chunk: usize,
    /// Where it goes.
    pub into: Place,
}

/// Where a chunk goes that comes from a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Over this rank's own.
    Chunk,
    /// Beside it.
    Slot(usize),
}

impl Step {
    /// One chunk to a rank.
    pub(crate) fn send(to: usize, chunk: usize) -> Self {
        Self::Exchange { sends: vec![Send { to, chunk }], receives: Vec::new() }
    }

    /// One chunk from a rank, over this rank's own.
    pub(crate) fn receive(from: usize, chunk: usize) -> Self {
        let into = Place::Chunk;
        Self::Exchange { sends: Vec::new(), receives: vec![Receive { from, chunk, into }] }
    }
}

/// What `rank` sends to others in these steps, in bytes.
pub(crate) fn sent_bytes(rank: usize, chunks: &[View], steps: &[Step]) -> u64 {
    let sent = steps.iter().flat_map(|step| match step {
        Step::Exchange { sends, .. } => sends.as_slice(),
        Step::Combine { .. } | Step::Reduce { .. } => &[],
    });
    let away = sent.filter(|send| send.to != rank);
    away.map(|send| chunks[send.chunk].bytes() as u64).sum()
}

/// `elements` in `count` chunks, all of one length but for the last ones: chunk c is \[min(cL, n), min((c + 1)L, n))
/// with L = ceil(n / count).
///
/// ```
/// assert_eq!(fp8lm_collectives::chunks(5, 4), [0..2, 2..4, 4..5, 5..5]);
/// ```
#[must_use]
pub fn chunks(elements: usize, count: usize) -> Vec<Range<usize>> {
    let length = elements.div_ceil(count.max(1));
    let border = |chunk: usize| chunk.saturating_mul(length).min(elements);
    (0..count).map(|chunk| border(chunk)..border(chunk + 1)).collect()
}
