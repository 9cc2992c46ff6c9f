//! A run as a job of a real Slurm: a rank killed, and the time limit reached, change no bit of its result.

mod cluster;
mod disturb;
mod gpus;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use self::cluster::{Cluster, Submitted};
use super::report::Outcome;
use crate::{
    cargo::{self, cargo, succeeds},
    compare, features,
};

/// Trains three times as a job of 4 ranks over MPI: in peace, with a rank killed, and with the time limit at hand.
/// Before that a job for GPUs tells what it would have trained with.
pub(super) fn check() -> Result<Outcome> {
    if let Some(missing) = features::missing_for_mpi().or_else(cluster::missing) {
        return Ok(Outcome::Skipped(missing));
    }
    let (program, cluster) = (program()?, Cluster::start()?);
    gpus::check(&cluster)?;
    let runs = cluster.folder().join("runs");
    let submit = |name: &str| cluster.submit(&program, &runs.join(name), OPTIONS);
    let undisturbed = submit("undisturbed")?.end()?;
    ensure!(restarts(&undisturbed)? == 0, "the job that nobody disturbed was requeued");
    let killed = submit("killed")?.disturbed(disturb::kill_a_rank)?;
    let limited = submit("limited")?.disturbed(disturb::reach_the_time_limit)?;
    // The first goes on from the last checkpoint, the other from that which it saved when told.
    let killed = is_same(&undisturbed, &killed, disturb::CHECKPOINT)?;
    let limited = is_same(&undisturbed, &limited, disturb::STEPS_BEFORE)?;
    Ok((killed && limited).into())
}

/// Whether a job that was disturbed once has the result of one that was not. It must not have done the step again.
fn is_same(undisturbed: &Path, run: &Path, step: usize) -> Result<bool> {
    ensure!(restarts(run)? == 1, "{}: expected one restart", run.display());
    let times = count(run, &format!("  step {step}/"))?;
    ensure!(times == 1, "{}: step {step} was done {times} times", run.display());
    compare::run(undisturbed, run)
}

/// The program. All tests are built with it, as they have been before this one: under other features of what they alone
/// depend on, part of it would be built once more.
fn program() -> Result<PathBuf> {
    let build = ["test", "--workspace", "--tests", "--no-run"];
    ensure!(succeeds(cargo(build).args(features::all()?))?, "the program does not build");
    Ok(cargo::target()?.join("debug/fp8lm"))
}

/// How often the job has requeued itself, by its own log.
fn restarts(run: &Path) -> Result<usize> {
    count(run, ": requeued, restart ")
}

/// How many lines of the job's log contain the text.
fn count(run: &Path, text: &str) -> Result<usize> {
    let log = Submitted::log(run);
    let lines = fs::read_to_string(&log).with_context(|| log.display().to_string())?;
    Ok(lines.lines().filter(|line| line.contains(text)).count())
}

/// 4 ranks; steps enough that the run is well under way when it is disturbed, and checkpoints before and after that.
/// The time limit is far, until a test moves it to within the lead and the 30 seconds between two looks of Slurm.
const OPTIONS: &[&str] = &[
    "--max-restarts=2",
    "--time=30",
    "--signal-lead=90",
    "--set=parallel.data=2",
    "--set=parallel.tensor=2",
    "--set=run.steps=24",
    // `disturb::CHECKPOINT`, and more.
    "--set=run.checkpoint_every=5",
    "--set=run.evaluate_every=8",
    "--set=run.evaluate_batches=1",
];
