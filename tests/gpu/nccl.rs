//! Ranks with a GPU each, over stand-ins for the driver and NCCL, held against ranks that are threads of the emulator.

use std::{env, path::Path, sync::Arc, thread, time::Duration};

use fp8lm_collectives::{Algorithm, Composed};
use fp8lm_cuda::{Cuda, CudaDevice, NcclLink, NcclOptions, Options, Seat};
use fp8lm_device::{DType, Error, Label, Queue, Tensor};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
use nccl_rs::{Nccl, UniqueId};

use crate::{Result, say};

mod data;
mod failures;
mod messages;
mod training;
mod verbs;

/// All checks; the first that fails is the error.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let options = Options { folders: vec![folder.join("lib")], cache: folder.join("cache") };
    let gpus = Gpus { cuda: Cuda::find(&options)?, nccl: Nccl::load()? };
    let stand_in = folder.join("driver/libnccl.so.2");
    if gpus.cuda.devices()? < 2 || !stand_in.exists() {
        say("skipped: this machine has libraries of its own");
        return Ok(());
    }
    if env::var("NCCL_ALGO").as_deref() == Ok("Tree") {
        return verbs::run(&gpus, &[Algorithm::NcclTree]);
    }
    verbs::run(&gpus, &[Algorithm::RoundOnce, Algorithm::NcclRing, Algorithm::HalvingDoubling])?;
    messages::run(&gpus)?;
    training::run(&gpus)?;
    failures::run(&gpus)
}

/// GPUs that NCCL connects.
pub(crate) struct Gpus {
    cuda: Cuda,
    nccl: Nccl,
}

/// What a rank ends with.
pub(crate) type End<T> = fp8lm_device::Result<T>;

impl Gpus {
    /// Does `body` on a thread for each of `ranks` GPUs, and returns what each ends with.
    pub(crate) fn run<T: Send>(
        &self,
        ranks: usize,
        options: &NcclOptions,
        body: impl Fn(Rank) -> End<T> + Sync,
    ) -> Result<Vec<End<T>>> {
        let unique_id = self.nccl.unique_id()?;
        let live = |rank| {
            let device = self.device(rank)?;
            let seat = Seat { unique_id, rank, size: ranks };
            let link = NcclLink::join(&self.nccl, &device, &seat, options.clone())?;
            body(Rank { device, link: Arc::new(link) })
        };
        let ends = thread::scope(|scope| {
            let threads: Vec<_> = (0..ranks).map(|rank| scope.spawn(move || live(rank))).collect();
            threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
        });
        ends.into_iter().map(|end| end.map_err(|_| "a rank panicked".into())).collect()
    }

    /// A rank's GPU.
    pub(crate) fn device(&self, rank: usize) -> End<Arc<CudaDevice>> {
        let failed = |source| Error::Failed { operation: "open", source: Box::new(source) };
        Ok(Arc::new(CudaDevice::with(&self.cuda, rank).map_err(failed)?))
    }

    pub(crate) fn nccl(&self) -> &Nccl {
        &self.nccl
    }

    pub(crate) fn unique_id(&self) -> Result<UniqueId> {
        Ok(self.nccl.unique_id()?)
    }

    /// Ranks on GPUs must end with the bytes of ranks on the emulator.
    pub(crate) fn compare(
        &self,
        what: &str,
        ranks: usize,
        body: impl Fn(Rank) -> End<Vec<Vec<u8>>> + Sync,
    ) -> Result<()> {
        let options = WorldOptions { ranks, ..WorldOptions::default() };
        let wanted = World::new(&Emulator::default(), options).run(&body)?;
        let got = self.run(ranks, &patient(), &body)?;
        for (rank, (got, wanted)) in got.into_iter().zip(&wanted).enumerate() {
            let got = got.map_err(|error| format!("{what}, rank {rank} of {ranks}: {error}"))?;
            for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                if let Some(byte) = (0..wanted.len()).find(|&byte| got[byte] != wanted[byte]) {
                    let bytes = format!("{:#04x}, not {:#04x}", got[byte], wanted[byte]);
                    let place = format!("result {at}, byte {byte} of {}", wanted.len());
                    return Err(format!("{what}, rank {rank} of {ranks}, {place}: {bytes}").into());
                }
            }
        }
        Ok(())
    }
}

/// Time enough for ranks that share few cores.
pub(crate) fn patient() -> NcclOptions {
    NcclOptions { timeout: Duration::from_secs(120), ..NcclOptions::default() }
}

/// What a rank of a check works with.
pub(crate) struct Member {
    pub(crate) rank: usize,
    pub(crate) size: usize,
    pub(crate) queue: Queue,
    pub(crate) group: Composed,
}

impl Member {
    pub(crate) fn new(rank: Rank, algorithm: Algorithm) -> End<Self> {
        let queue = Queue::new(rank.device)?;
        let (size, number) = (rank.link.size(), rank.link.rank());
        let group = Composed::new(rank.link, &queue, algorithm)?;
        Ok(Self { rank: number, size, queue, group })
    }

    pub(crate) fn tensor(&self, dtype: DType, bytes: &[u8]) -> End<Tensor> {
        let tensor = self.queue.alloc(dtype, bytes.len() / dtype.bytes(), LABEL)?;
        self.queue.write_bytes(bytes, &tensor)?;
        Ok(tensor)
    }

    pub(crate) fn bytes(&self, tensors: &[Tensor]) -> End<Vec<Vec<u8>>> {
        tensors.iter().map(|tensor| self.queue.download_bytes(tensor)).collect()
    }
}

pub(crate) const LABEL: Label = Label("test");
