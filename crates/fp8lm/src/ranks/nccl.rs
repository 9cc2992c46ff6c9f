//! Ranks as processes with a GPU each, which NCCL connects: this one is one of them.

use std::{
    env,
    io::{self, Write},
    process,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fp8lm_cuda::{CudaDevice, NcclLink, NcclOptions, Seat};
use fp8lm_device::{Link, LinkError};
use fp8lm_rendezvous::{Identity, Options, Store, discover, discover_token};
use fp8lm_trainer::{Place, Plan};
use nccl_rs::{Nccl, UniqueId};

use crate::{backend::find_cuda, cli::TrainArgs, exit::Exit};

/// Does `body` on the rank that this process is.
pub(super) fn run<T>(
    args: &TrainArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    let device = &args.device.device;
    ensure!(
        args.adversarial.is_none(),
        "--adversarial: expected a device cpu, and --link threads or mpi"
    );
    ensure!(
        device.is_gpu(),
        "--link nccl: expected --device cuda, a GPU for each process, not {device}"
    );
    let identity = identity(plan)?;
    // What is missing here is told before anybody waits.
    let cuda = find_cuda(&args.device.libraries.folders)?;
    let gpu = Arc::new(CudaDevice::with(&cuda, device.gpu()?)?);
    let nccl = Nccl::load()?;
    let timeout = Duration::from_secs(plan.config().parallel.timeout_seconds);
    let store = meet(&identity, timeout)?;
    let seat = seat(&identity, &nccl, &store)?;
    let link: Arc<dyn Link> = Arc::new(NcclLink::join(&nccl, &gpu, &seat, options(timeout))?);
    let place = Place { device: gpu, link: Some(link.clone()) };
    let done = body(&place).inspect_err(|error| {
        // Or this rank would wait for others in what it has begun.
        let (rank, reason) = (seat.rank, error.to_string());
        link.abort(LinkError::RankFailed { rank, reason });
    })?;
    // Who fails does not leave, and is lost to those who still meet.
    store.leave()?;
    Ok(done)
}

/// Which rank the launcher has made this process.
fn identity(plan: &Plan) -> Result<Identity> {
    let Some(identity) = discover(&|name| env::var(name).ok())? else {
        bail!(
            "--link nccl: no launcher has said which rank this process is; start it by torchrun, srun, mpirun or fp8lm spawn"
        )
    };
    let (ranks, mesh, processes) = (plan.ranks(), plan.mesh(), identity.world_size);
    ensure!(
        ranks == processes,
        "parallel: {mesh} are {ranks} ranks, and the launcher has started {processes} processes; expected one for each"
    );
    Ok(identity)
}

/// The store of all ranks, when all have come.
fn meet(identity: &Identity, timeout: Duration) -> Result<Store> {
    let token = discover_token(&|name| env::var(name).ok())?;
    Ok(Store::join(identity, &Options { token, timeout, ..Options::default() })?)
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

/// A rank that hangs where no error reaches it ends here, so that the launcher starts all again.
fn options(timeout: Duration) -> NcclOptions {
    let give_up = |error: &LinkError| {
        let _ = writeln!(io::stderr(), "fp8lm: error: {error}; this rank hangs, and is ended");
        process::exit(Exit::Again as i32)
    };
    NcclOptions { timeout, give_up: Some(Arc::new(give_up)), ..NcclOptions::default() }
}

const UNIQUE_ID: &str = "NCCL's unique id";
