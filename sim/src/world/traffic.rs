//! What ranks have sent one another.

use std::{
    iter::Sum,
    ops::Add,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Messages that were sent, and their bytes in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many, empty ones among them.
    pub messages: u64,
    /// The bytes in them.
    pub bytes: u64,
}

impl Add for Sent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { messages: self.messages + other.messages, bytes: self.bytes + other.bytes }
    }
}

impl Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What each rank has sent to each.
#[derive(Debug)]
pub(super) struct Traffic {
    ranks: usize,
    sent: Vec<[AtomicU64; 2]>,
}

impl Traffic {
    pub(super) fn new(ranks: usize) -> Self {
        let sent = (0..ranks * ranks).map(|_| Default::default()).collect();
        Self { ranks, sent }
    }

    /// Counts a message; how many went before it from the one to the other.
    pub(super) fn count(&self, from: usize, to: usize, bytes: usize) -> u64 {
        let [messages, total] = &self.sent[from * self.ranks + to];
        total.fetch_add(bytes as u64, Relaxed);
        messages.fetch_add(1, Relaxed)
    }

    pub(super) fn sent(&self, from: usize, to: usize) -> Sent {
        let [messages, bytes] = &self.sent[from * self.ranks + to];
        Sent { messages: messages.load(Relaxed), bytes: bytes.load(Relaxed) }
    }
}
