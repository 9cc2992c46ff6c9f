//! The device of a rank, with streams of either kind.

use std::sync::Arc;

use fp8lm_device::{Device, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Rank, Streams, link::SimLink, rendezvous::Rendezvous};
use crate::{Adversarial, Emulator};

#[derive(Debug)]
pub(super) enum RankDevice {
    InOrder(Arc<Emulator>),
    Adversarial(Arc<Adversarial>),
}

impl RankDevice {
    /// That of rank `rank`.
    pub(super) fn new(emulator: &Emulator, streams: Streams, rank: usize) -> Self {
        match streams {
            Streams::InOrder => Self::InOrder(Arc::new(emulator.sibling())),
            Streams::Adversarial { seed } => {
                let seed = xxh3_64_with_seed(&rank.to_le_bytes(), seed);
                Self::Adversarial(Arc::new(Adversarial::new(emulator, seed)))
            }
        }
    }

    /// What does the work.
    pub(super) fn emulator(&self) -> &Arc<Emulator> {
        match self {
            Self::InOrder(emulator) => emulator,
            Self::Adversarial(streams) => streams.emulator(),
        }
    }

    /// What rank `rank` is handed.
    pub(super) fn rank(&self, rendezvous: &Arc<Rendezvous>, rank: usize) -> Rank {
        let (device, streams): (Arc<dyn Device>, _) = match self {
            Self::InOrder(emulator) => (emulator.clone(), None),
            Self::Adversarial(streams) => (streams.clone(), Some(streams.clone())),
        };
        Rank { device, link: Arc::new(SimLink::new(rendezvous.clone(), streams, rank)) }
    }

    /// Does what work is left.
    pub(super) fn finish(&self) -> Result<()> {
        match self {
            Self::InOrder(_) => Ok(()),
            Self::Adversarial(streams) => streams.finish(),
        }
    }

    /// Drops what work is left.
    pub(super) fn clear(&self) {
        if let Self::Adversarial(streams) = self {
            streams.clear();
        }
    }
}
