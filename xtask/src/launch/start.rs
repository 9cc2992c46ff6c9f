//! From a job's text to a job.

use std::{
    fs::{self, create_dir_all},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{follow, job::Job, options::Launcher};
use crate::cargo::{become_it, is_available};

/// Hands the text to what starts jobs. A file of it stays beside the logs, but for Kubernetes, whose folders are
/// elsewhere.
pub(super) fn start(launcher: &Launcher, job: &Job, text: &str) -> Result<bool> {
    expect_tool(launcher)?;
    if matches!(launcher, Launcher::K8s { .. }) {
        return feed(Command::new("kubectl").args(["apply", "--filename", "-"]), text);
    }
    refuse_run(launcher, job)?;
    let name = if matches!(launcher, Launcher::Slurm { .. }) { "job.sbatch" } else { "job.sh" };
    let file = Path::new(&job.logs).join(name);
    let written = create_dir_all(&job.logs).and_then(|()| fs::write(&file, text));
    written.with_context(|| format!("cannot write {}", file.display()))?;
    match launcher {
        Launcher::Slurm { options, .. } => follow::submit(job, &file, options.wait),
        _ => become_it(Command::new("sh").arg(file)),
    }
}

/// Whether the command takes the text and succeeds.
fn feed(command: &mut Command, text: &str) -> Result<bool> {
    let mut process = command.stdin(Stdio::piped()).spawn()?;
    // It is dropped, and thereby closed, behind its last byte.
    process.stdin.take().context("no pipe")?.write_all(text.as_bytes())?;
    Ok(process.wait()?.success())
}

/// Nobody begins a run where there is one without saying so.
fn refuse_run(launcher: &Launcher, job: &Job) -> Result<()> {
    let is_run = Path::new(&job.run).join("config.toml").exists();
    ensure!(
        !is_run || launcher.common().resume,
        "{} holds a run: expected another folder, or --resume to go on with it",
        job.run
    );
    Ok(())
}

/// An error if what the job needs to start is not on this machine.
fn expect_tool(launcher: &Launcher) -> Result<()> {
    let (tool, version, remedy) = match launcher {
        Launcher::Local { .. } => return Ok(()),
        Launcher::Mpi { .. } => ("mpirun", &["--version"][..], "install Open MPI"),
        Launcher::Torchrun { .. } => ("torchrun", &["--help"][..], "install PyTorch"),
        Launcher::Slurm { .. } => (
            "sbatch",
            &["--version"][..],
            "submit on a machine of the cluster, or carry there what --dry-run prints",
        ),
        Launcher::K8s { .. } => (
            "kubectl",
            &["version", "--client"][..],
            "install it, or apply elsewhere what --dry-run prints",
        ),
    };
    ensure!(is_available(Command::new(tool).args(version)), "{tool} is missing: {remedy}");
    Ok(())
}
