//! Ranks as processes with a GPU each, which NCCL connects: this one is one of them.

mod failure;

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fp8lm_cuda::{CudaDevice, NcclLink, NcclOptions, Seat};
use fp8lm_device::{Link, LinkError};
use fp8lm_rendezvous::{Identity, Store};
use fp8lm_trainer::{Place, Plan};
use nccl_rs::{Nccl, UniqueId};

use crate::{
    backend::{Backend, find_cuda},
    cli::TrainArgs,
    exit::Exit,
    job,
};

/// Does `body` on the rank that this process is.
pub(super) fn run<T>(
    args: &TrainArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    expect_gpu(args)?;
    let identity = job::identity()?;
    super::expect_processes(plan, identity.world_size)?;
    expect_own(&args.device.device, &identity)?;
    // What is missing here is told before anybody waits.
    let cuda = find_cuda(&args.device.libraries.folders)?;
    let gpu = Arc::new(CudaDevice::with(&cuda, args.device.device.gpu()?)?);
    let nccl = Nccl::load()?;
    let timeout = Duration::from_secs(plan.config().parallel.timeout_seconds);
    let store = job::join(&identity, timeout)?;
    let seat = seat(&identity, &nccl, &store)?;
    let link: Arc<dyn Link> = Arc::new(NcclLink::join(&nccl, &gpu, &seat, options(timeout))?);
    let place = Place { device: gpu, link: Some(link.clone()) };
    let done = failure::shared(&store, &*link, || body(&place))?;
    // The work is done, whoever may be gone by now.
    let _ = store.leave();
    Ok(done)
}

fn expect_gpu(args: &TrainArgs) -> Result<()> {
    let device = &args.device.device;
    ensure!(
        args.adversarial.is_none(),
        "--adversarial: expected --device cpu, and --link threads or mpi"
    );
    ensure!(
        device.is_gpu(),
        "--link nccl: expected --device cuda, a GPU for each process, not {device}"
    );
    Ok(())
}

/// Two ranks cannot share a GPU.
fn expect_own(device: &Backend, identity: &Identity) -> Result<()> {
    let processes = identity.local_size;
    ensure!(
        *device == Backend::Cuda(None) || processes == 1,
        "--device {device}: expected cuda, the GPU of its number for each of {processes} processes on this node"
    );
    Ok(())
}

/// Rank 0 makes NCCL's unique id, which all get.
fn seat(identity: &Identity, nccl: &Nccl, store: &Store) -> Result<Seat> {
    if identity.rank == 0 {
        store.set(UNIQUE_ID, &nccl.unique_id()?.to_bytes())?;
    }
    let bytes = store.get(UNIQUE_ID)?.try_into().ok().context("NCCL's unique id has 128 bytes")?;
    let unique_id = UniqueId::from_bytes(bytes);
    Ok(Seat { unique_id, rank: identity.rank, size: identity.world_size })
}

/// A rank that hangs where no error reaches it ends here, so that the launcher starts all again. Nothing is cleaned up:
/// what hangs may hold locks of the driver.
fn options(timeout: Duration) -> NcclOptions {
    let give_up = |error: &LinkError| {
        let _ = writeln!(io::stderr(), "fp8lm: error: {error}; this rank hangs, and is ended");
        signal_hook::low_level::exit(Exit::Again as i32)
    };
    NcclOptions { timeout, give_up: Some(Arc::new(give_up)), ..NcclOptions::default() }
}

const UNIQUE_ID: &str = "NCCL's unique id";
