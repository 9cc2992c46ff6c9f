//! PyTorch's torchrun: its agent on every node starts a process for each GPU, and starts all again if one fails.

use anyhow::{Result, ensure};
use clap::Args;

use super::{
    job::Job,
    options::Link,
    shell::{self, quote},
};

/// What torchrun alone is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The first node, and a port of it that is free, where agents meet; needed for several nodes
    #[arg(long, value_name = "HOST:PORT")]
    master: Option<String>,
}

/// The shell script, to be run on every node.
pub(super) fn render(job: &Job, options: &Options) -> Result<String> {
    let mut torchrun = vec![
        format!("exec torchrun --nnodes={}", job.nodes),
        format!("--nproc-per-node={}", job.processes_per_node),
        format!("--max-restarts={}", job.max_restarts),
    ];
    torchrun.extend(meeting(job, options)?);
    torchrun.push(format!("--log-dir={} --redirects=3 --tee=0:3", quote(&job.logs)));
    torchrun.push("--no-python".to_owned());
    let command = shell::command(torchrun.into_iter().chain(job.train()));
    Ok(format!("#!/bin/sh\n# {}\n{}{command}", job.summary(), token(job)))
}

/// How agents meet.
fn meeting(job: &Job, options: &Options) -> Result<Vec<String>> {
    let Some(master) = &options.master else {
        ensure!(
            job.nodes == 1,
            "{} nodes: expected --master HOST:PORT, of the first of them",
            job.nodes
        );
        return Ok(vec!["--standalone".to_owned()]);
    };
    let endpoint = format!("--rdzv-backend=c10d --rdzv-endpoint={}", quote(master));
    Ok(vec![endpoint, format!("--rdzv-id={}", quote(&job.name))])
}

/// One node draws the token itself; several must be given the same.
fn token(job: &Job) -> &'static str {
    match (job.link, job.nodes) {
        (Link::Nccl, 1) => shell::TOKEN,
        (Link::Nccl, _) => shell::SAME_TOKEN,
        _ => "",
    }
}
