//! The ranks of a run: this thread for one, a thread or a process each for several.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(not(feature = "mpi"))]
#[path = "ranks/without_mpi.rs"]
mod mpi;
mod nccl;

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use fp8lm_sim::{Emulator, Options, Rank, RunError, Streams, World, WorldOptions};
use fp8lm_trainer::{Place, Plan};

use crate::{
    backend::Backend,
    cli::{DeviceArgs, LinkKind, TrainArgs},
};

/// Does `body` on every rank of the plan that this process is, and returns what it does on the first.
pub(crate) fn run<T: Send>(
    args: &TrainArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    match args.link {
        LinkKind::Threads => threads(args, plan, body),
        LinkKind::Mpi => mpi::run(args, plan, body),
        LinkKind::Nccl => nccl::run(args, plan, body),
    }
}

/// All ranks, threads of this process.
fn threads<T: Send>(
    args: &TrainArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    let mut options = Options::default();
    if plan.config().run.threads > 0 {
        options.threads = plan.config().run.threads;
    }
    let DeviceArgs { device, libraries } = &args.device;
    if plan.ranks() == 1 && args.adversarial.is_none() {
        return body(&Place::alone(device.open(options, &libraries.folders)?));
    }
    expect_threads(device, plan)?;
    // They share the machine's memory.
    options.memory_bytes /= plan.ranks() as u64;
    let world = World::new(&Emulator::new(options), world_options(args, plan));
    let all = world.run(|Rank { device, link }| body(&Place { device, link: Some(link) }));
    let first = all.map_err(explain)?.into_iter().next();
    first.ok_or_else(|| anyhow!("a plan has at least one rank"))
}

/// An error unless so many ranks can be threads of this process.
fn expect_threads(device: &Backend, plan: &Plan) -> Result<()> {
    let (ranks, mesh) = (plan.ranks(), plan.mesh());
    ensure!(
        *device == Backend::Cpu,
        "--device {device}: expected cpu for {ranks} ranks, which are threads of this process, and for adversarial streams"
    );
    ensure!(
        ranks <= MOST,
        "parallel: {mesh} are {ranks} ranks; expected at most {MOST}, which are threads of this process"
    );
    Ok(())
}

/// An error unless a launcher has started a process for each rank.
fn expect_processes(plan: &Plan, processes: usize) -> Result<()> {
    let (ranks, mesh) = (plan.ranks(), plan.mesh());
    ensure!(
        ranks == processes,
        "parallel: {mesh} are {ranks} ranks, and the launcher has started {processes} processes; expected one for each"
    );
    Ok(())
}

fn world_options(args: &TrainArgs, plan: &Plan) -> WorldOptions {
    let timeout = Duration::from_secs(plan.config().parallel.timeout_seconds);
    let streams = match args.adversarial {
        Some(seed) => Streams::Adversarial { seed },
        None => Streams::InOrder,
    };
    WorldOptions { ranks: plan.ranks(), timeout, checksums: true, streams, ..Default::default() }
}

/// Without the rank that was first: what ends one mostly ends all, and where it does not, the error names who failed.
fn explain(error: RunError<anyhow::Error>) -> anyhow::Error {
    match error {
        RunError::Failed { error, .. } => error,
        RunError::Device { rank, error } => {
            let text = format!("rank {rank} failed in the work that it left: {error}");
            anyhow::Error::new(*error).context(text)
        }
        other => anyhow!("{other}"),
    }
}

/// The most ranks in one process.
const MOST: usize = 1024;
