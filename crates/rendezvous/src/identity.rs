//! Which process of a job this one is.

use std::fmt;

/// The place of a process in its job, as the launcher has told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who started the process.
    pub launcher: Launcher,
    /// The process's number, below `world_size`.
    pub rank: usize,
    /// Processes in all.
    pub world_size: usize,
    /// The process's number on its node, below `local_size`: the number of its GPU.
    pub local_rank: usize,
    /// Processes on its node.
    pub local_size: usize,
    /// Its node, where the launcher says which.
    pub node: Option<Node>,
    /// Where rank 0 serves the [`Store`](crate::Store), where the launcher or the user says so.
    pub master: Option<Address>,
    /// How often the job has been started before.
    pub restarts: usize,
}

/// One node of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number, below `count`.
    pub rank: usize,
    /// Nodes in all.
    pub count: usize,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

/// What starts the processes of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// `torchrun`, `fp8lm spawn`, or anything else that sets `RANK` and `WORLD_SIZE`.
    Torchrun,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `srun` of Slurm.
    Slurm,
    /// `mpiexec` of MPICH or Intel MPI, or anything else that speaks PMI or PMIx.
    Pmi,
    /// An indexed job of Kubernetes.
    Kubernetes,
}

impl Identity {
    /// The only process of a job.
    pub fn alone(launcher: Launcher) -> Self {
        let node = Some(Node { rank: 0, count: 1 });
        let (master, restarts) = (None, 0);
        Self {
            launcher,
            rank: 0,
            world_size: 1,
            local_rank: 0,
            local_size: 1,
            node,
            master,
            restarts,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::OpenMpi => "Open MPI",
            Self::Slurm => "Slurm",
            Self::Pmi => "PMI",
            Self::Kubernetes => "Kubernetes",
        })
    }
}
