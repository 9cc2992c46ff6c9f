//! mpirun, of Open MPI: a process for each rank, a log for each, the first rank's on the terminal.
//!
//! mpirun itself starts nothing again, so `fp8lm spawn` watches it.

use anyhow::{Result, ensure};
use clap::Args;

use super::{
    build,
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
    /// Where ranks on GPUs meet: the first host, and a port of it that is free
    #[arg(long, value_name = "HOST:PORT")]
    master: Option<String>,
}

/// The shell script.
pub(super) fn render(job: &Job, options: &Options) -> Result<String> {
    ensure!(
        job.nodes == 1 || options.hostfile.is_some(),
        "{} nodes: expected --hostfile FILE with their names",
        job.nodes
    );
    let mut command = vec![format!("exec {} spawn --mpirun", quote(&job.program))];
    command.push(format!("--max-restarts {} --logs {} --", job.max_restarts, quote(&job.logs)));
    command.push(format!("mpirun -n {}", job.processes));
    if let Some(file) = &options.hostfile {
        command.push(format!("--hostfile {}", quote(&build::absolute(file)?)));
    }
    command
        .push(format!("--map-by ppr:{}:node:oversubscribe --bind-to none", job.processes_per_node));
    command.push(format!("--output-filename {}", quote(&format!("{}:nojobid", job.logs))));
    let mut token = "";
    if job.link == Link::Nccl {
        token = shell::TOKEN;
        command.push(meeting(job, options)?);
    }
    let command = shell::command(command.into_iter().chain(job.train()));
    Ok(format!("#!/bin/sh\n# {}\n{token}{command}", job.summary()))
}

/// What ranks that do not meet by MPI are told of where they meet. The token's value stands nowhere.
fn meeting(job: &Job, options: &Options) -> Result<String> {
    let master = options.master.as_deref().or((job.nodes == 1).then_some("127.0.0.1:29500"));
    let (host, port) = master.and_then(|master| master.rsplit_once(':')).unwrap_or_default();
    ensure!(
        !host.is_empty() && port.parse::<u16>().is_ok(),
        "{} nodes: expected --master HOST:PORT, of the first of them",
        job.nodes
    );
    let address = quote(&format!("MASTER_ADDR={host}"));
    Ok(format!("-x {address} -x MASTER_PORT={port} -x FP8LM_TOKEN"))
}
