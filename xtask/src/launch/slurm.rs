//! Slurm: an sbatch file that requeues itself.

use anyhow::Result;
use clap::Args;

use super::{
    job::Job,
    options::{Device, Link},
    shell::{self, quote},
};

/// What Slurm alone is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The time limit, in Slurm's form, such as 12:00:00
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    /// Seconds before the time limit at which the run saves and the job requeues
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    signal_lead: u32,
    /// A further option of sbatch, such as --partition=gpu; may be repeated
    #[arg(long = "sbatch", value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
}

/// The sbatch file.
pub(super) fn render(job: &Job, options: &Options) -> Result<String> {
    let directives: Vec<_> =
        directives(job, options).iter().map(|d| format!("#SBATCH {d}\n")).collect();
    let mut srun = vec!["srun --kill-on-bad-exit=1".to_owned()];
    if job.link == Link::Mpi {
        srun.push("--mpi=pmix".to_owned());
    }
    srun.push(format!("--output={}/rank-%t.log", quote(&job.logs)));
    let command = shell::command(srun.into_iter().chain(job.train()));
    let (directives, token) = (directives.concat(), shell::TOKEN);
    Ok(format!("#!/bin/bash\n# {}\n{directives}\n{token}{command}", job.summary()))
}

fn directives(job: &Job, options: &Options) -> Vec<String> {
    let mut all = vec![
        format!("--job-name={}", quote(&job.name)),
        format!("--nodes={}", job.nodes),
        format!("--ntasks-per-node={}", job.processes_per_node),
    ];
    if job.device == Device::Cuda {
        all.push(format!("--gpus-per-node={}", job.processes_per_node));
    }
    all.extend(options.time.as_ref().map(|time| format!("--time={}", quote(time))));
    all.extend(["--requeue".to_owned(), format!("--signal=USR1@{}", options.signal_lead)]);
    all.push(format!("--output={}/job.log", quote(&job.logs)));
    all.extend(options.sbatch.iter().cloned());
    all
}
