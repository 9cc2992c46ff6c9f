//! Ranks as threads: each with a device of its own, and an end of a link to the others.

mod call;
mod device;
mod fault;
mod groups;
mod link;
mod rendezvous;
mod run;
mod state;
mod traffic;

use std::{
    fmt::Display,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use fp8lm_device::{Device, Link};

pub(crate) use call::{Call, Flight};
pub use fault::Fault;
pub use run::RunError;
pub use traffic::Sent;

use self::{device::RankDevice, rendezvous::Rendezvous, state::State, traffic::Traffic};
use crate::Emulator;

/// Ranks in one process, and what connects them.
///
/// A failure of one is a failure of all, with one error that names ranks of the world, whatever group it came up in. A
/// deadlock is found at once: when every rank has ended or waits for a message whose other side nobody will offer.
///
/// With streams in order an exchange that receives blocks its rank until it is over. One that only sends does not: it
/// leaves copies of what nobody waits for yet. What is still there when all ranks have ended is an error.
///
/// Limits: each rank calls its links from one thread. Ranks that mean to receive on several streams at once need
/// [adversarial](Streams::Adversarial) ones.
#[derive(Debug)]
pub struct World {
    options: WorldOptions,
    devices: Vec<RankDevice>,
    traffic: Arc<Traffic>,
}

/// How the devices of a world run their streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streams {
    /// Work is done when its call returns.
    #[default]
    InOrder,
    /// Work is done late and in an odd order: see [`Adversarial`](crate::Adversarial).
    Adversarial {
        /// It chooses the order, on each rank another.
        seed: u64,
    },
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// The number of ranks.
    pub ranks: usize,
    /// How long a rank waits for another that is not known to be stuck. Ranks that share few cores wait for one another
    /// while they compute.
    pub timeout: Duration,
    /// Hash every message on both sides.
    pub checksums: bool,
    /// How devices run their streams.
    pub streams: Streams,
    /// What befalls messages.
    pub faults: Vec<Fault>,
}

impl Default for WorldOptions {
    /// One rank, ten minutes, streams in order, and a wire that needs no checksums.
    fn default() -> Self {
        let (timeout, streams) = (Duration::from_secs(600), Streams::InOrder);
        Self { ranks: 1, timeout, checksums: false, streams, faults: Vec::new() }
    }
}

/// What a rank is handed.
#[derive(Clone, Debug)]
pub struct Rank {
    /// Its device.
    pub device: Arc<dyn Device>,
    /// Its end of the link among all ranks.
    pub link: Arc<dyn Link>,
}

impl World {
    /// Ranks whose devices are siblings of `emulator`: they share its threads.
    pub fn new(emulator: &Emulator, options: WorldOptions) -> Self {
        let device = |rank| RankDevice::new(emulator, options.streams, rank);
        let devices = (0..options.ranks).map(device).collect();
        let traffic = Arc::new(Traffic::new(options.ranks));
        Self { options, devices, traffic }
    }

    /// Runs `body` on a thread for each rank, all connected anew, and returns what they do, in the order of ranks. If
    /// one fails, so do all exchanges, and the error is that of the rank that failed first; where the link itself was
    /// the first to fail, that of the lowest rank.
    pub fn run<T: Send, E: Display + Send>(
        &self,
        body: impl Fn(Rank) -> Result<T, E> + Sync,
    ) -> Result<Vec<T>, RunError<E>> {
        let rendezvous = Arc::new(self.rendezvous());
        run::run(&rendezvous, &self.devices, &body)
    }

    /// What one rank has sent to another in all runs. What a rank sends to itself is not counted.
    ///
    /// # Panics
    /// If there is no such rank.
    pub fn sent(&self, from: usize, to: usize) -> Sent {
        assert!(from.max(to) < self.options.ranks, "both are ranks of the world");
        self.traffic.sent(from, to)
    }

    /// What a rank has sent to all others.
    ///
    /// # Panics
    /// If there is no such rank.
    pub fn sent_by(&self, rank: usize) -> Sent {
        (0..self.options.ranks).map(|to| self.sent(rank, to)).sum()
    }

    fn rendezvous(&self) -> Rendezvous {
        let WorldOptions { ranks, timeout, checksums, ref faults, .. } = self.options;
        Rendezvous {
            emulators: self.devices.iter().map(|device| device.emulator().clone()).collect(),
            traffic: self.traffic.clone(),
            timeout,
            checksums,
            faults: faults.clone(),
            state: Mutex::new(State::new(ranks)),
            wakers: (0..ranks).map(|_| Condvar::new()).collect(),
        }
    }
}
