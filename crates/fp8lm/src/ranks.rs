//! The ranks of a run: this thread for one, a thread each for several.

use std::time::Duration;

use anyhow::{Result, anyhow};
use fp8lm_sim::{Emulator, Options, Rank, RunError, World, WorldOptions};
use fp8lm_trainer::{Place, Plan};

use crate::{backend::Backend, cli::DeviceArgs};

/// Does `body` on every rank of the plan, and returns what it does on the first.
pub(crate) fn run<T: Send>(
    args: &DeviceArgs,
    plan: &Plan,
    body: impl Fn(&Place) -> Result<T> + Sync,
) -> Result<T> {
    let mut options = Options::default();
    if plan.config().run.threads > 0 {
        options.threads = plan.config().run.threads;
    }
    if plan.ranks() == 1 {
        return body(&Place::alone(args.device.open(options, &args.libraries.folders)?));
    }
    let Backend::Cpu = args.device else {
        return Err(anyhow!(
            "--device {}: expected cpu for {} ranks, which are threads of this process",
            args.device,
            plan.ranks()
        ));
    };
    let world = World::new(&Emulator::new(options), world_options(plan));
    let all = world.run(|Rank { device, link }| body(&Place { device, link: Some(link) }));
    let first = all.map_err(explain)?.into_iter().next();
    first.ok_or_else(|| anyhow!("a plan has at least one rank"))
}

fn world_options(plan: &Plan) -> WorldOptions {
    let timeout = Duration::from_secs(plan.config().parallel.timeout_seconds);
    WorldOptions { ranks: plan.ranks(), timeout, checksums: true, ..Default::default() }
}

/// What the first rank says, it says for all.
fn explain(error: RunError<anyhow::Error>) -> anyhow::Error {
    match error {
        RunError::Failed { rank: 0, error } => error,
        RunError::Failed { rank, error } => {
            let message = format!("rank {rank}: {error}");
            error.context(message)
        }
        other => anyhow!("{other}"),
    }
}
