//! mpirun, of Open MPI: a process for each rank, a log for each, the first rank's on the terminal.

use anyhow::{Result, ensure};
use clap::Args;

use super::{
    job::Job,
    options::Link,
    shell::{self, quote},
};

/// What mpirun alone is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The hosts to use, in mpirun's form; by default this machine alone
    #[arg(long, value_name = "FILE")]
    hostfile: Option<String>,
    /// Where ranks on GPUs meet
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:29500")]
    master: String,
}

/// The shell script.
pub(super) fn render(job: &Job, options: &Options) -> Result<String> {
    ensure!(
        job.nodes == 1 || options.hostfile.is_some(),
        "{} nodes: expected --hostfile FILE with their names",
        job.nodes
    );
    let mut mpirun = vec![format!("exec mpirun -n {}", job.processes)];
    mpirun.extend(options.hostfile.as_deref().map(|file| format!("--hostfile {}", quote(file))));
    mpirun.push(format!("--map-by ppr:{}:node:oversubscribe", job.processes_per_node));
    mpirun.push("--bind-to none".to_owned());
    mpirun.push(format!("--output-filename {}", quote(&job.logs)));
    let command = shell::command(mpirun.into_iter().chain(job.train()));
    let token = if job.link == Link::Nccl { shell::TOKEN } else { "" };
    Ok(format!("#!/bin/sh\n# {}\n{token}{command}", job.summary()))
}
