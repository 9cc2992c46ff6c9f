//! The command line of `cargo xtask launch`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{k8s, mpi, slurm, torchrun};

/// Which launcher starts what.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(super) launcher: Launcher,
}

#[derive(Subcommand)]
pub(super) enum Launcher {
    /// On this machine: on CPUs one process whose threads are the ranks, on GPUs a process for each
    Local {
        #[command(flatten)]
        common: Common,
    },
    /// By mpirun, on this machine or on the hosts of a file: a process for each rank
    Mpi {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: mpi::Options,
    },
    /// As a batch job of Slurm, which requeues itself before its time limit and when a rank is lost
    Slurm {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: slurm::Options,
    },
    /// By PyTorch's torchrun, which needs no Python of the program: a process for each GPU
    Torchrun {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: torchrun::Options,
    },
    /// As a JobSet on Kubernetes: a pod for each node, in it a process for each GPU
    K8s {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        options: k8s::Options,
    },
}

/// What every launcher is told.
#[derive(Args)]
pub(super) struct Common {
    /// What to train: a TOML file, or the name of a preset
    pub(super) config: String,
    /// The run folder, which all processes see under this path; logs stand beside it, in DIR.logs
    #[arg(long, value_name = "DIR")]
    pub(super) run: PathBuf,
    /// Go on with the run that the folder holds, if it holds one
    #[arg(long)]
    pub(super) resume: bool,
    /// Print what would be started, and start nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// How often to start again after a rank or a node is lost
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) max_restarts: u32,
    /// A key of the configuration, as `section.key=value`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) sets: Vec<String>,
    /// What the ranks compute on
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(super) device: Device,
    /// Processes on a node: its GPUs, of which 8 are assumed; on CPUs by default all that there are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) processes_per_node: Option<u32>,
    /// A program that is built already, in place of building one
    #[arg(long, value_name = "FILE")]
    pub(super) program: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Device {
    Cpu,
    Cuda,
}

/// What connects the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Threads,
    Mpi,
    Nccl,
}

impl Launcher {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Local { common }
            | Self::Mpi { common, .. }
            | Self::Slurm { common, .. }
            | Self::Torchrun { common, .. }
            | Self::K8s { common, .. } => common,
        }
    }

    /// What connects the ranks of a job on these devices.
    pub(super) fn link(&self, device: Device) -> Link {
        match (device, self) {
            (Device::Cuda, _) => Link::Nccl,
            (Device::Cpu, Self::Mpi { .. } | Self::Slurm { .. }) => Link::Mpi,
            (Device::Cpu, _) => Link::Threads,
        }
    }
}

impl Link {
    /// Its name, as `fp8lm train` is told it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Mpi => "mpi",
            Self::Nccl => "nccl",
        }
    }
}
