//! Ranks that do as they should, and ranks that do not.

mod failures;
mod groups;
mod schedules;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fp8lm_device::{
    DType, Error, Label, Link, LinkError, Queue, Result, Tag, Tensor, Transfer, Waiting,
};
use fp8lm_sim::{
    Emulator, Fault, Isa, Options, Rank, RunError, Sent, Streams, World, WorldOptions,
};

fn world(ranks: usize) -> World {
    with(WorldOptions { ranks, checksums: true, ..WorldOptions::default() })
}

fn with(options: WorldOptions) -> World {
    let emulator = Options { threads: 2, isa: Isa::best(), memory_bytes: 1 << 30 };
    World::new(&Emulator::new(emulator), options)
}

/// Both kinds of streams.
fn kinds(seed: u64) -> [Streams; 2] {
    [Streams::InOrder, Streams::Adversarial { seed }]
}

/// A rank with a stream.
struct Actor {
    queue: Queue,
    link: Arc<dyn Link>,
}

impl Actor {
    fn new(rank: Rank) -> Result<Self> {
        Ok(Self { queue: Queue::new(rank.device)?, link: rank.link })
    }

    fn bytes(&self, bytes: &[u8]) -> Result<Tensor> {
        let tensor = self.queue.alloc(DType::E4M3, bytes.len(), TEST)?;
        self.queue.write_bytes(bytes, &tensor)?;
        Ok(tensor)
    }

    /// Waits for it.
    fn exchange(&self, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        self.link.exchange(self.queue.stream(), tag, transfers)?;
        self.queue.synchronize()
    }

    /// Sends `bytes` to the next rank; what comes from the one before.
    fn shift(&self, number: u64, bytes: &[u8]) -> Result<Vec<u8>> {
        let (rank, size) = (self.link.rank(), self.link.size());
        let (from, to) = (self.bytes(bytes)?, self.bytes(&vec![0; bytes.len()])?);
        let transfers = [send((rank + 1) % size, &from), receive((rank + size - 1) % size, &to)];
        self.exchange(tag(number), &transfers)?;
        self.queue.download_bytes(&to)
    }
}

fn send(peer: usize, from: &Tensor) -> Transfer {
    Transfer::Send { peer, from: from.view().clone() }
}

fn receive(peer: usize, to: &Tensor) -> Transfer {
    Transfer::Receive { peer, to: to.view().clone() }
}

fn tag(number: u64) -> Tag {
    Tag { operation: "shift", reduction: None, dtype: DType::E4M3, elements: None, number }
}

fn link_error(error: Error) -> LinkError {
    match error {
        Error::Link(error) => error,
        other => panic!("{other} is no error of a link"),
    }
}

/// Numbers that look random, from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed >> 33) as usize) % end
    }
}

const TEST: Label = Label("test");
const SOON: Duration = Duration::from_millis(50);
