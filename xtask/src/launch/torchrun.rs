//! PyTorch's torchrun: its agent on every node starts a process for each GPU, and starts all again if one fails.

use anyhow::Result;
use clap::Args;

use super::{
    job::Job,
    shell::{self, quote},
};

/// What torchrun alone is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The first node, where agents meet; needed for several nodes
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
    torchrun.push(match &options.master {
        Some(master) => format!("--rdzv-backend=c10d --rdzv-endpoint={}", quote(master)),
        None => "--standalone".to_owned(),
    });
    torchrun.push(format!("--log-dir={} --redirects=3 --tee=0:3 --no-python", quote(&job.logs)));
    let command = shell::command(torchrun.into_iter().chain(job.train()));
    Ok(format!("#!/bin/sh\n# {}\n{}{command}", job.summary(), shell::TOKEN))
}
