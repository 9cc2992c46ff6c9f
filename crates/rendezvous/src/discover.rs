//! Which process this is, by the variables that its launcher has set.

mod kubernetes;
mod open_mpi;
mod pmi;
mod slurm;
#[cfg(test)]
mod tests;
mod torchrun;
mod variables;

use self::variables::Variables;
pub(crate) use self::variables::cut;
use crate::{Identity, Launcher, Result, Token};

/// The place that the launcher has given this process; nothing if no launcher has left its mark.
///
/// `variable` looks up a variable of the environment, mostly `|name| std::env::var(name).ok()`; one that is empty
/// counts as not set. Launchers may start one another, so the innermost comes first:
///
/// | launcher | its mark | what else it says |
/// |---|---|---|
/// | torchrun, `fp8lm spawn`, Kubeflow | `RANK` | `WORLD_SIZE`, `LOCAL_RANK`, `LOCAL_WORLD_SIZE`, `GROUP_RANK` |
/// | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_SIZE`, `.._LOCAL_RANK`, `.._LOCAL_SIZE` |
/// | MPICH, Intel MPI | `PMI_RANK` with `MPI_LOCALRANKID` | `PMI_SIZE`, `MPI_LOCALNRANKS` |
/// | Slurm | `SLURM_PROCID` | `SLURM_NTASKS`, `SLURM_LOCALID`, `SLURM_NODEID`, `SLURM_JOB_NODELIST` |
/// | PMI, PMIx | `PMI_RANK`, `PMIX_RANK` | `PMI_SIZE`, `WORLD_SIZE` |
/// | Kubernetes | `JOB_COMPLETION_INDEX` | `WORLD_SIZE`, which the job's manifest sets |
///
/// `MASTER_ADDR` and `MASTER_PORT` say for all of them where rank 0 serves. Under Slurm they may be left out: then it
/// is the first host of the list, and a port by the number of the job. Where torchrun's agent serves a store of its
/// own at `MASTER_PORT` (`TORCHELASTIC_USE_AGENT_STORE`), ours takes the next port.
///
/// ```
/// use fp8lm_rendezvous::{Launcher, discover};
///
/// let variables = [("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "3"), ("LOCAL_WORLD_SIZE", "4")];
/// let look_up = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
/// let identity = discover(&look_up)?.expect("a launcher");
/// assert_eq!((identity.launcher, identity.rank, identity.world_size), (Launcher::Torchrun, 3, 8));
/// # Ok::<(), fp8lm_rendezvous::Error>(())
/// ```
///
/// # Errors
/// If the launcher's variables do not fit one another; the error names variable and value.
pub fn discover(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Identity>> {
    let variables = Variables(variable);
    let Some(launcher) = launcher(&variables) else { return Ok(None) };
    let read = match launcher {
        Launcher::Torchrun => torchrun::read,
        Launcher::OpenMpi => open_mpi::read,
        Launcher::Slurm => slurm::read,
        Launcher::Pmi => pmi::read,
        Launcher::Kubernetes => kubernetes::read,
    };
    read(&variables).map(Some)
}

/// The job's secret, from the variable `FP8LM_TOKEN`; nothing if it is not set.
///
/// # Errors
/// If it is shorter or longer than a token may be.
pub fn discover_token(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Token>> {
    let text = Variables(variable).text("FP8LM_TOKEN");
    text.map(|text| Token::new(text.as_bytes())).transpose()
}

/// The innermost launcher.
fn launcher(variables: &Variables<'_>) -> Option<Launcher> {
    let marks: [(&[&str], Launcher); 7] = [
        (&["RANK"], Launcher::Torchrun),
        (&["OMPI_COMM_WORLD_RANK"], Launcher::OpenMpi),
        (&["PMI_RANK", "MPI_LOCALRANKID"], Launcher::Pmi),
        (&["SLURM_PROCID"], Launcher::Slurm),
        (&["PMI_RANK"], Launcher::Pmi),
        (&["PMIX_RANK"], Launcher::Pmi),
        (&["JOB_COMPLETION_INDEX"], Launcher::Kubernetes),
    ];
    let is_set = |names: &[&str]| names.iter().all(|name| variables.text(name).is_some());
    marks.into_iter().find(|(names, _)| is_set(names)).map(|(_, launcher)| launcher)
}
