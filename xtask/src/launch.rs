//! Runs on this machine and on clusters: builds the program, and starts what each launcher understands.
//!
//! A [`Job`] says what is started, how often and where. Each launcher's file makes of it the text that its tool takes:
//! a shell script, an sbatch file or a manifest. `--dry-run` prints it; otherwise the tool is handed just that.

mod build;
mod follow;
mod job;
mod k8s;
mod local;
mod mpi;
mod options;
mod shell;
mod slurm;
mod start;
#[cfg(test)]
mod tests;
mod torchrun;

use std::io::{self, Write};

use anyhow::Result;

pub(crate) use self::options::Options;
use self::{job::Job, options::Launcher};

/// Starts the job, or prints it. Whether all went well, unless this process becomes the launcher.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let (launcher, common) = (&options.launcher, options.launcher.common());
    let link = launcher.link(common.device);
    let program = match &common.program {
        Some(program) => program.clone(),
        None => build::program(link)?,
    };
    let config = build::configuration(&program, common)?;
    let job = Job::new(launcher, &program, &config)?;
    let text = render(launcher, &job)?;
    if common.dry_run {
        io::stdout().write_all(text.as_bytes())?;
        return Ok(true);
    }
    start::start(launcher, &job, &text)
}

/// What the launcher's tool is handed.
fn render(launcher: &Launcher, job: &Job) -> Result<String> {
    match launcher {
        Launcher::Local { .. } => Ok(local::render(job)),
        Launcher::Mpi { options, .. } => mpi::render(job, options),
        Launcher::Slurm { options, .. } => Ok(slurm::render(job, options)),
        Launcher::Torchrun { options, .. } => torchrun::render(job, options),
        Launcher::K8s { options, .. } => k8s::render(job, options),
    }
}
