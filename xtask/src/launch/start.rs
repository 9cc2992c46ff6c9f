//! From a job's text to a job.

use std::{
    fs::{self, create_dir_all},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{job::Job, options::Launcher};
use crate::cargo::{become_it, is_available};

/// What takes a job's text.
struct Tool {
    /// Without it there is no job.
    name: &'static str,
    /// What it prints its version for.
    version: &'static str,
    /// Where to get it.
    from: &'static str,
    /// The command line, but for the file, and what that is called.
    command: &'static [&'static str],
    file: &'static str,
}

/// Keeps the text beside the logs, and becomes what takes it.
pub(super) fn start(launcher: &Launcher, job: &Job, text: &str) -> Result<bool> {
    refuse_run(launcher, job)?;
    let tool = tool(launcher);
    ensure!(
        is_available(Command::new(tool.name).args(tool.version.split(' '))),
        "{} is missing: {}",
        tool.name,
        tool.from
    );
    let file = Path::new(&job.logs).join(tool.file);
    let written = create_dir_all(&job.logs).and_then(|()| fs::write(&file, text));
    written.with_context(|| format!("cannot write {}", file.display()))?;
    become_it(Command::new(tool.command[0]).args(&tool.command[1..]).arg(file))
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

fn tool(launcher: &Launcher) -> Tool {
    match launcher {
        Launcher::Local { .. } => script("sh", "-c true", "a shell is needed"),
        Launcher::Mpi { .. } => script("mpirun", "--version", "install Open MPI"),
        Launcher::Torchrun { .. } => script("torchrun", "--help", "install PyTorch"),
        Launcher::Slurm { .. } => Tool {
            name: "sbatch",
            version: "--version",
            from: "submit from a machine of the cluster, or --dry-run and carry the file there",
            command: &["sbatch"],
            file: "job.sbatch",
        },
    }
}

/// A tool that the text itself calls.
fn script(name: &'static str, version: &'static str, from: &'static str) -> Tool {
    Tool { name, version, from, command: &["sh"], file: "job.sh" }
}
