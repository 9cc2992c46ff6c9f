//! How many bytes went to other ranks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fp8lm_device::{Label, Transfer};

/// Bytes that one rank sent to others, by what they were for and by collective.
pub type Traffic = BTreeMap<(Label, &'static str), u64>;

/// The traffic so far. It is counted from the transfers themselves; what a rank sends to itself is none.
#[derive(Debug, Default)]
pub(crate) struct Books(Mutex<Traffic>);

impl Books {
    pub(crate) fn traffic(&self) -> Traffic {
        self.lock().clone()
    }

    pub(crate) fn take(&self) -> Traffic {
        std::mem::take(&mut *self.lock())
    }

    /// Counts what `rank` sends.
    pub(crate) fn count(&self, key: (Label, &'static str), rank: usize, transfers: &[Transfer]) {
        let bytes = transfers.iter().map(|transfer| match transfer {
            Transfer::Send { peer, from } if *peer != rank => from.bytes() as u64,
            Transfer::Send { .. } | Transfer::Receive { .. } => 0,
        });
        self.add(key, bytes.sum());
    }

    /// Counts bytes.
    pub(crate) fn add(&self, key: (Label, &'static str), bytes: u64) {
        *self.lock().entry(key).or_default() += bytes;
    }

    /// The map stays whole after a panic elsewhere: each change to it is one call.
    fn lock(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
