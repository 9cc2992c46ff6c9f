//! An indexed job of Kubernetes: one process a pod. The manifest must set the world size and where rank 0 serves.

use super::variables::{Variables, obvious_node};
use crate::{Identity, Launcher, Result};

pub(super) fn read(variables: &Variables<'_>) -> Result<Identity> {
    let given = "JOB_COMPLETION_INDEX";
    let world_size = variables.size(&["WORLD_SIZE"], given)?;
    let mut identity = Identity {
        rank: variables.required(&[given], given)?.below(world_size)?,
        world_size: world_size.value,
        master: variables.master()?,
        restarts: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        ..Identity::alone(Launcher::Kubernetes)
    };
    identity.node = obvious_node(&identity);
    Ok(identity)
}
