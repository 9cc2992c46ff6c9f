//! Slurm: an sbatch file that requeues itself, before its time limit and when a rank is lost.

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
    /// Show what the first rank writes until the job ends, and end as it does
    #[arg(long)]
    pub(super) wait: bool,
}

/// The sbatch file.
pub(super) fn render(job: &Job, options: &Options) -> String {
    let directives = directives(job, options).map(|d| format!("#SBATCH {d}\n"));
    let directives: String = directives.collect();
    let srun = shell::command(srun(job).into_iter().chain(job.train()));
    let requeue = REQUEUE.replace("MAX_RESTARTS", &job.max_restarts.to_string());
    let parts = [
        format!("#!/bin/bash\n# {}\n{directives}\n", job.summary()),
        format!("logs={}\n{}{PLACE}{RANK}", quote(&job.logs), shell::TOKEN),
        format!("{} || code=$?\n{requeue}", srun.trim_end()),
    ];
    parts.concat()
}

/// Where the job and its first rank write.
pub(super) fn log(job: &Job) -> String {
    format!("{}/job.log", job.logs)
}

fn directives(job: &Job, options: &Options) -> impl Iterator<Item = String> {
    let per_node = job.processes_per_node;
    let gpus = (job.device == Device::Cuda).then(|| format!("--gpus-per-node={per_node}"));
    let shape = [
        format!("--job-name={}", quote(&job.name)),
        format!("--nodes={}", job.nodes),
        format!("--ntasks-per-node={per_node}"),
    ];
    let end = [
        "--requeue".to_owned(),
        format!("--signal=USR1@{}", options.signal_lead),
        // Slurm fills in what follows a percent sign.
        format!("--output={}", quote(&log(job).replace('%', "%%"))),
        "--open-mode=append".to_owned(),
    ];
    let time = options.time.as_ref().map(|time| format!("--time={}", quote(time)));
    shape.into_iter().chain(gpus).chain(time).chain(end).chain(options.sbatch.iter().cloned())
}

/// What starts the ranks, up to their own command line.
fn srun(job: &Job) -> [String; 2] {
    let mpi = if job.link == Link::Mpi { "pmix" } else { "none" };
    [format!("srun --kill-on-bad-exit=1 --mpi={mpi}"), r#"bash -c "$rank" "$logs""#.to_owned()]
}

/// The first node, and a port that no other job has there; and what srun does not take over from sbatch.
const PLACE: &str = r#"MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT ${SLURM_CPUS_PER_TASK:+SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"}
"#;

/// What a rank does around its command, up to what starts all of them.
const RANK: &str = r#"
# The first rank writes where the job does, and leaves a mark if it ended well: srun ends with 0, too, after a signal that
# came before it had started the ranks. Every other rank has a log of its own.
rank='
((SLURM_PROCID == 0)) || exec "$@" >>"$0/rank-$SLURM_PROCID.log" 2>&1
trap : USR1 INT TERM
"$@" && touch "$0/done"
'
rm -f "$logs/done"
code=0
"#;

/// What follows the ranks. The state, because Slurm would requeue a job that was cancelled, too.
const REQUEUE: &str = r#"[[ $code != 0 || -e $logs/done ]] || code=75

# 75: start me again. Above 128: a rank died of a signal. 130: stopped by SIGINT, on purpose.
restarts=${SLURM_RESTART_COUNT:-0}
if ((code == 75 || code > 128 && code != 130)) && ((restarts < MAX_RESTARTS)) &&
    [[ $(squeue --noheader --format=%T --job "$SLURM_JOB_ID") == RUNNING ]]; then
    echo "exit code $code: requeued, restart $((restarts + 1)) of MAX_RESTARTS"
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"#;
