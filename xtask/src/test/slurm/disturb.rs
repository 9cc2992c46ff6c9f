//! What happens to jobs on clusters, done on purpose while a job trains.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::cluster::Submitted;
use crate::cargo::{self, succeeds};

/// Kills the last rank once the run is well under way.
pub(super) fn kill_a_rank(job: &Submitted<'_>) -> Result<()> {
    send("KILL", &rank_in_training(job)?)
}

/// Moves the time limit so near that Slurm gives its signal.
///
/// Slurm looks every 30 seconds. So that the signal falls inside training one rank is stopped, and the others wait for
/// it; what tracks processes here wakes those that it signals.
pub(super) fn reach_the_time_limit(job: &Submitted<'_>) -> Result<()> {
    send("STOP", &rank_in_training(job)?)?;
    update(job, "EndTime=now+100")?;
    until("the job to requeue itself", || Ok(super::restarts(&job.run)? > 0))?;
    // The time limit is the job's, and would be as near again.
    update(job, "TimeLimit=30")
}

/// The last rank, once there is a checkpoint to go on from.
fn rank_in_training(job: &Submitted<'_>) -> Result<PathBuf> {
    let metrics = job.run.join("metrics.jsonl");
    let checkpoint = job.run.join(format!("checkpoints/step-{CHECKPOINT:06}.safetensors"));
    until("training and a checkpoint", || {
        let steps = fs::read_to_string(&metrics).unwrap_or_default().lines().count();
        Ok(steps >= STEPS_BEFORE && checkpoint.exists())
    })?;
    last_rank(&job.run).context("no process is the last rank")
}

/// The folder in `/proc` of the process that is the last rank.
fn last_rank(run: &Path) -> Option<PathBuf> {
    let mut processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    processes.find(|process| {
        let has = |file, word: &[u8]| {
            let words = fs::read(process.join(file)).unwrap_or_default();
            words.split(|byte| *byte == 0).any(|other| other == word)
        };
        has("cmdline", run.as_os_str().as_bytes())
            && has("environ", b"SLURM_PROCID=3")
            && has("comm", b"fp8lm\n")
    })
}

fn send(signal: &str, process: &Path) -> Result<()> {
    let id = process.file_name().unwrap_or_else(|| OsStr::new(""));
    ensure!(succeeds(Command::new("kill").arg("-s").arg(signal).arg(id))?, "no signal was sent");
    Ok(())
}

/// Changes the job, as its user or an administrator would.
fn update(job: &Submitted<'_>, change: &str) -> Result<()> {
    let name = job.run.file_name().context("a run folder has a name")?;
    let mut squeue = job.cluster.command("squeue");
    let id = cargo::output(squeue.args(["--noheader", "--format=%i", "--name"]).arg(name))?;
    let mut scontrol = job.cluster.command("scontrol");
    scontrol.args(["update", &format!("JobId={}", id.trim()), change]);
    ensure!(succeeds(&mut scontrol)?, "Slurm does not take {change}");
    Ok(())
}

/// Waits until it is so, for some time.
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if is_so()? {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    bail!("waited {} seconds for {what}", PATIENCE.as_secs())
}

/// The steps that a run has done when it is disturbed, or a few more.
pub(super) const STEPS_BEFORE: usize = 8;
/// The last checkpoint until then.
pub(super) const CHECKPOINT: usize = 5;
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(20);
