//! The memory of launches lent to other code than a twin.

use std::ops::Range;

use crate::workers::{Rows, Workers};

/// The memory of launches, which nothing else accesses while this value lives.
#[derive(Debug)]
pub struct Bound<'a> {
    addresses: Vec<Vec<u64>>,
    workers: &'a Workers,
}

impl<'a> Bound<'a> {
    pub(crate) fn new(addresses: Vec<Vec<u64>>, workers: &'a Workers) -> Self {
        Self { addresses, workers }
    }

    /// For each launch the address of every argument, 0 for a number. Those that are written overlap no other one of
    /// the same launch.
    pub fn addresses(&self) -> &[Vec<u64>] {
        &self.addresses
    }

    /// Calls `body` on parts of `0..n`, on the emulator's threads.
    pub fn share(&self, n: usize, body: impl Fn(Range<usize>) + Sync) {
        let grain = n.div_ceil(PARTS * self.workers.threads()).max(1);
        self.workers.rows(n, grain, Nothing, |range, Nothing| body(range));
    }
}

/// Rows of which nothing is written.
struct Nothing;

impl Rows for Nothing {
    fn split(self, _: usize) -> (Self, Self) {
        (Nothing, Nothing)
    }
}

/// Parts for every thread, so that none waits long for another.
const PARTS: usize = 4;
