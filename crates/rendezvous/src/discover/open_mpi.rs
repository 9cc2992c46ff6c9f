//! Open MPI's variables. `OMPI_COMM_WORLD_NODE_RANK` is a rank on the node, and no number of the node.

use super::variables::{Variables, obvious_node};
use crate::{Identity, Launcher, Result};

pub(super) fn read(variables: &Variables<'_>) -> Result<Identity> {
    let given = "OMPI_COMM_WORLD_RANK";
    let world_size = variables.size(&["OMPI_COMM_WORLD_SIZE"], given)?;
    let local_size = variables.size(&["OMPI_COMM_WORLD_LOCAL_SIZE"], given)?;
    let local_rank = variables.required(&["OMPI_COMM_WORLD_LOCAL_RANK"], given)?;
    let mut identity = Identity {
        rank: variables.required(&[given], given)?.below(world_size)?,
        world_size: world_size.value,
        local_rank: local_rank.below(local_size)?,
        local_size: local_size.value,
        master: variables.master()?,
        restarts: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        ..Identity::alone(Launcher::OpenMpi)
    };
    identity.node = obvious_node(&identity);
    Ok(identity)
}
