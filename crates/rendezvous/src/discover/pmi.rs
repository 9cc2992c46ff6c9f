//! The variables of PMI, which MPICH's and Intel MPI's `mpiexec` set, and of PMIx, which names no world size.

use super::variables::{Variables, obvious_node};
use crate::{Identity, Launcher, Result};

pub(super) fn read(variables: &Variables<'_>) -> Result<Identity> {
    let rank = variables.required(&["PMI_RANK", "PMIX_RANK"], "PMI_SIZE")?;
    let sizes: &[_] = if rank.variable == "PMI_RANK" { &["PMI_SIZE"] } else { &["WORLD_SIZE"] };
    let world_size = variables.size(sizes, rank.variable)?;
    let (local_rank, local_size) = local(variables)?;
    let mut identity = Identity {
        rank: rank.below(world_size)?,
        world_size: world_size.value,
        local_rank,
        local_size,
        master: variables.master()?,
        restarts: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        ..Identity::alone(Launcher::Pmi)
    };
    identity.node = obvious_node(&identity);
    Ok(identity)
}

/// Without word of others on the node there are none.
fn local(variables: &Variables<'_>) -> Result<(usize, usize)> {
    let ranks = ["MPI_LOCALRANKID", "PMI_LOCAL_RANK", "LOCAL_RANK"];
    let Some(rank) = variables.first(&ranks)? else { return Ok((0, 1)) };
    let sizes = ["MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "LOCAL_WORLD_SIZE"];
    let size = variables.size(&sizes, rank.variable)?;
    Ok((rank.below(size)?, size.value))
}
