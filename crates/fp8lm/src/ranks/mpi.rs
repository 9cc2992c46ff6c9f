//! Ranks as processes of MPI: this one is one of them.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, anyhow, ensure};
use fp8lm_device::Device;
use fp8lm_mpi::{
    RunError, Transport,
    native::{Mpi, Neighbours},
};
use fp8lm_sim::{Adversarial, Emulator, Options};
use fp8lm_trainer::{Place, Plan};

use crate::{backend::Backend, cli::TrainArgs};

/// Does `body` on the rank that this process is.
pub(super) fn run<T>(
    args: &TrainArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    let mpi = Mpi::start()?;
    super::expect_processes(plan, mpi.size())?;
    let device = open(args, share(plan, mpi.neighbours()), mpi.rank())?;
    let timeout = Duration::from_secs(plan.config().parallel.timeout_seconds);
    let options = fp8lm_mpi::Options { timeout, ..Default::default() };
    let run = fp8lm_mpi::run(Box::new(mpi), device.clone(), &options, |link| {
        body(&Place { device, link: Some(link) })
    });
    run.map_err(explain)
}

/// What this process has of its host: its part of the memory, and of the cores that it may run on.
fn share(plan: &Plan, neighbours: Neighbours) -> Options {
    let mut options = Options::default();
    options.memory_bytes /= neighbours.on_host as u64;
    options.threads = match plan.config().run.threads {
        0 => (options.threads / neighbours.on_cores).max(1),
        threads => threads,
    };
    options
}

fn open(args: &TrainArgs, options: Options, rank: usize) -> Result<Arc<dyn Device>> {
    let Some(seed) = args.adversarial else {
        return args.device.device.open(options, &args.device.libraries.folders);
    };
    let device = &args.device.device;
    ensure!(*device == Backend::Cpu, "--device {device}: expected cpu for adversarial streams");
    // On each rank another order.
    let seed = seed.wrapping_add(rank as u64);
    Ok(Arc::new(Adversarial::new(&Emulator::new(options), seed)))
}

/// What a rank that did its part ends with is the error of another.
fn explain(error: RunError<anyhow::Error>) -> anyhow::Error {
    match error {
        RunError::Failed { error, .. } => error,
        RunError::Link { error, .. } => (*error).into(),
        other => anyhow!("{other}"),
    }
}
