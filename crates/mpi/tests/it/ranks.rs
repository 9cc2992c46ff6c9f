//! Ranks on threads, with messages between them.

use std::{sync::Arc, thread, time::Duration};

use fp8lm_device::{
    DType, Device, Error, Label, Link, LinkError, Queue, Result, Tag, Tensor, Transfer,
};
use fp8lm_mpi::{Options, RunError, Transport, Wires, run};
use fp8lm_sim::{Emulator, Isa};

pub(crate) type End<T> = std::result::Result<T, RunError<Box<Error>>>;

/// A rank with a stream.
pub(crate) struct Actor {
    pub(crate) queue: Queue,
    pub(crate) link: Arc<dyn Link>,
}

impl Actor {
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<Tensor> {
        let tensor = self.queue.alloc(DType::E4M3, bytes.len(), Label("test"))?;
        self.queue.write_bytes(bytes, &tensor)?;
        Ok(tensor)
    }

    pub(crate) fn exchange(&self, tag: Tag, transfers: &[Transfer]) -> Result<()> {
        self.link.exchange(self.queue.stream(), tag, transfers)
    }

    /// Sends `bytes` to the next rank; what comes from the one before.
    pub(crate) fn shift(&self, number: u64, bytes: &[u8]) -> Result<Vec<u8>> {
        let (rank, size) = (self.link.rank(), self.link.size());
        let (from, to) = (self.bytes(bytes)?, self.bytes(&vec![0; bytes.len()])?);
        let transfers = [send((rank + 1) % size, &from), receive((rank + size - 1) % size, &to)];
        self.exchange(tag(number), &transfers)?;
        self.queue.download_bytes(&to)
    }
}

pub(crate) fn emulator() -> Emulator {
    Emulator::new(fp8lm_sim::Options { threads: 1, isa: Isa::best(), memory_bytes: 1 << 28 })
}

/// How the ranks of tests wait: not long.
pub(crate) fn options() -> Options {
    Options { timeout: Duration::from_secs(60), grace: Duration::from_secs(5) }
}

/// Does `body` on `ranks` ranks.
pub(crate) fn on_all<T: Send>(
    ranks: usize,
    body: impl Fn(Actor) -> Result<T> + Sync,
) -> Vec<End<T>> {
    over(Wires::among(ranks), options(), body)
}

/// Does `body` on every rank that `ends` connect.
pub(crate) fn over<W: Transport + 'static, T: Send>(
    ends: Vec<W>,
    options: Options,
    body: impl Fn(Actor) -> Result<T> + Sync,
) -> Vec<End<T>> {
    on_devices(ends, options, |_| Arc::new(emulator()), body)
}

/// The same, each rank on a device of its own.
pub(crate) fn on_devices<W: Transport + 'static, T: Send>(
    ends: Vec<W>,
    options: Options,
    device: impl Fn(usize) -> Arc<dyn Device> + Sync,
    body: impl Fn(Actor) -> Result<T> + Sync,
) -> Vec<End<T>> {
    let live = |end: W| {
        let device = device(end.rank());
        run(Box::new(end), device.clone(), &options, |link| {
            Ok(body(Actor { queue: Queue::new(device)?, link })?)
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = ends.into_iter().map(|end| scope.spawn(|| live(end))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub(crate) fn values<T>(ends: Vec<End<T>>) -> Vec<T> {
    ends.into_iter().map(|end| end.unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// The error of the link that a rank has ended with.
pub(crate) fn link_error<T: std::fmt::Debug>(end: End<T>) -> LinkError {
    match end {
        Err(RunError::Failed { error, .. }) => match *error {
            Error::Link(error) => error,
            other => panic!("{other} is no error of a link"),
        },
        Err(RunError::Link { error, .. }) => *error,
        other => panic!("{other:?} is no error of a link"),
    }
}

pub(crate) fn send(peer: usize, from: &Tensor) -> Transfer {
    Transfer::Send { peer, from: from.view().clone() }
}

pub(crate) fn receive(peer: usize, to: &Tensor) -> Transfer {
    Transfer::Receive { peer, to: to.view().clone() }
}

pub(crate) fn tag(number: u64) -> Tag {
    Tag { operation: "shift", reduction: None, dtype: DType::E4M3, elements: None, number }
}
