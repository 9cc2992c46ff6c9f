//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use fp8lm_parallel::Schedule;

use crate::backend::Backend;

/// Trains large language models in FP8.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Trains a model, and writes metrics, checkpoints and a report to a run folder.
    Train(TrainArgs),
    /// Says what a run would come to, without training: memory of each rank, bytes between them.
    Plan(PlanArgs),
    /// Draws when each rank of a pipeline does what, and says how long it idles and what it holds.
    Schedule(ScheduleArgs),
    /// Writes text with a trained model.
    Generate(GenerateArgs),
    /// Computes one operation on tensors in files, bit for bit as Hopper does.
    Emulate(EmulateArgs),
    /// Lists the devices of this machine, and says what others lack.
    Devices(LibraryArgs),
    /// Meets the other ranks of a job as a launcher has started them, and says who they are.
    Rendezvous(RendezvousArgs),
    /// Starts the processes of this node and watches them: torchrun's job, for any program that goes by its variables.
    #[cfg(unix)]
    Spawn(SpawnArgs),
    /// Holds a device against the emulator: every kernel, then a training run, bit by bit.
    Selftest(SelftestArgs),
    /// Lists the recipes, or prints one.
    Recipes(ListArgs),
    /// Lists the presets, or prints one.
    Presets(ListArgs),
}

/// What to train.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConfigArgs {
    /// The preset that the configuration starts from (see `fp8lm presets`).
    #[arg(long, value_name = "NAME", default_value = "quickstart")]
    pub(crate) preset: String,
    /// A TOML file whose keys take the place of the preset's.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A key that takes the place of the file's, as `section.key=value`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Ranks in all: as many data-parallel ones, which share the sequences of every micro-batch, as
    /// `parallel.pipeline` and `parallel.tensor` leave. With 1 of each, the same as `--set parallel.data=N`.
    #[arg(long, value_name = "N")]
    pub(crate) ranks: Option<u32>,
}

/// What to plan.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Prints the complete configuration instead, as TOML.
    #[arg(long)]
    pub(crate) toml: bool,
}

/// What to train, and where to.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Text files in UTF-8, or one `.bin` file of 16-bit tokens, in place of the King James text.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) data: Vec<PathBuf>,
    /// The run folder; by default a new one under `runs/`.
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    /// A run folder to go on in, from its newest checkpoint, under its own configuration; `--set` changes that from
    /// then on, its mesh of ranks for example.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "config", "data", "run", "compare"])]
    pub(crate) resume: Option<PathBuf>,
    /// Goes on in the folder of `--run` from the last checkpoint that is whole, or begins the run if there is none: the
    /// same command, again and again, comes to its end. The configuration must stay the same.
    #[arg(long, requires = "run", conflicts_with = "resume")]
    pub(crate) restart: bool,
    /// Trains with this recipe as well, and puts both in the report.
    #[arg(long, value_name = "RECIPE")]
    pub(crate) compare: Option<String>,
    /// What connects the ranks.
    #[arg(long, value_name = "NAME", value_enum, default_value_t = LinkKind::Threads)]
    pub(crate) link: LinkKind,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Works off streams as late and in as odd an order as events allow, by a seed, to find a wait that is missing. On
    /// the emulator alone; no result depends on it.
    #[arg(long, value_name = "SEED")]
    pub(crate) adversarial: Option<u64>,
    /// Prints nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What ranks are, and what connects them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkKind {
    /// Threads of this process, and its memory.
    Threads,
    /// Processes that a launcher has started, and messages of MPI.
    Mpi,
    /// Processes that a launcher has started, each with a GPU, and NCCL.
    Nccl,
}

/// Which device computes.
#[derive(Args, Debug)]
pub(crate) struct DeviceArgs {
    /// The device: `cpu`, the emulator; `host`, the CUDA kernels on the CPU; `cuda:N`, a GPU; or `cuda`, the GPU with
    /// the process's number among those of its node.
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: Backend,
    #[command(flatten)]
    pub(crate) libraries: LibraryArgs,
}

/// Where NVIDIA's libraries are.
#[derive(Args, Debug)]
pub(crate) struct LibraryArgs {
    /// A folder with NVIDIA's libraries, such as nvidia/cu13/lib of its Python packages, to look in before the
    /// system's; may be repeated.
    #[arg(long = "cuda-libraries", value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
}

/// What to write, and with which model.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// The run folder of the model.
    #[arg(long, value_name = "DIR")]
    pub(crate) run: PathBuf,
    /// The text to continue.
    #[arg(long, value_name = "TEXT", default_value = "In the beginning")]
    pub(crate) prompt: String,
    /// Tokens to write.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) tokens: usize,
    /// How freely to draw: 0 always takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    pub(crate) temperature: f64,
    /// The seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

/// What to start, how often, and as which part of a job.
#[derive(Args, Debug)]
pub(crate) struct SpawnArgs {
    /// Processes to start.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) processes: u32,
    /// Nodes of the job; each runs this command, with as many processes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) nodes: u32,
    /// Which of them this is, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) node_rank: u32,
    /// The first node, and a port of it that is free: where processes meet. One node's processes choose for themselves.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) master: Option<(String, u16)>,
    /// How often to start again, all of them, when one is lost to a signal or asks for it with exit code 75.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_restarts: u32,
    /// The folder of logs, one for each rank; rank 0 writes to this terminal as well.
    #[arg(long, value_name = "DIR", default_value = "logs")]
    pub(crate) logs: PathBuf,
    /// Seconds for the others to end after one has failed, before they are killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) grace: u64,
    /// COMMAND is mpirun, which starts ranks itself: one process without variables, started again by its exit code;
    /// SIGINT and SIGTERM reach ranks as SIGUSR1, so that they save, however long that takes.
    #[arg(long, conflicts_with_all = ["processes", "nodes", "node_rank", "master"])]
    pub(crate) mpirun: bool,
    /// The program to start, and its arguments, such as `-- fp8lm train --link nccl`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// How long to wait for the others, and where to look for libraries.
#[derive(Args, Debug)]
pub(crate) struct RendezvousArgs {
    /// Seconds to wait for the other ranks.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) libraries: LibraryArgs,
}

/// What is tested.
#[derive(Args, Debug)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Kernels to test: those whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) kernels: String,
    /// Size of the tensors whose kernels are timed, in MiB; 0 for no timing. By default 256 on a GPU, else 0.
    #[arg(long, value_name = "MIB")]
    pub(crate) megabytes: Option<usize>,
    /// Steps of the training run that is compared; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) steps: u64,
    /// A key of the training run's configuration, as `section.key=value`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
}

/// What to compute, and on which tensors.
#[derive(Args, Debug)]
pub(crate) struct EmulateArgs {
    /// The operation (see `fp8lm emulate --list`).
    #[arg(value_name = "OP", required_unless_present = "list")]
    pub(crate) operation: Option<String>,
    /// The safetensors file of its inputs.
    #[arg(long = "in", value_name = "FILE", required_unless_present = "list")]
    pub(crate) input: Option<PathBuf>,
    /// The safetensors file to write its outputs to.
    #[arg(long = "out", value_name = "FILE", required_unless_present = "list")]
    pub(crate) output: Option<PathBuf>,
    /// A key of the operation; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Threads to compute with; all cores by default. No result depends on it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// The instruction set: portable, avx2, avx512, avx512-bf16 or best. No result depends on it.
    #[arg(long, value_name = "NAME", default_value = "best")]
    pub(crate) isa: String,
    /// Prints every operation with its inputs, keys and outputs.
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
}

/// Which pipeline, and what its work costs.
#[derive(Args, Debug)]
#[command(args_override_self = true)]
pub(crate) struct ScheduleArgs {
    /// The schedule (see `fp8lm schedule --list`).
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub(crate) name: Option<Schedule>,
    /// Stages: a rank each, two a rank of dualpipe-v. Each is cut in `--chunks` by interleaved.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(..=1024))]
    pub(crate) stages: u32,
    /// Micro-batches of a step.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) microbatches: u32,
    /// Stages a rank, of interleaved alone, which has 2 by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=64))]
    pub(crate) chunks: Option<u32>,
    /// What the forward pass of a stage costs, in any unit of time.
    #[arg(long, value_name = "TIME", default_value_t = 1.0, value_parser = time)]
    pub(crate) forward: f64,
    /// What the backward pass of a stage costs, gradients of input and weights together.
    #[arg(long, value_name = "TIME", default_value_t = 2.0, value_parser = time)]
    pub(crate) backward: f64,
    /// What the gradients of the weights cost, a part of the backward pass; by default half of it.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) weight: Option<f64>,
    /// What a forward and a backward pass cost that overlap; by default as much as one after the other.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) overlapped: Option<f64>,
    /// Draws to this SVG file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Prints the names of all schedules, and what they do.
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
}

/// What to print.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Prints this one whole, as TOML.
    pub(crate) name: Option<String>,
}

fn address(text: &str) -> Result<(String, u16), String> {
    let address = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let address = address.and_then(|(host, port)| {
        Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
    });
    address.ok_or_else(|| "expected a host and a port, such as node1:29500".into())
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a number that is 0 or more".into()),
    }
}

fn time(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a number above 0".into()),
    }
}
