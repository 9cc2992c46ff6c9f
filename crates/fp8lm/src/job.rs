//! The job that this process is a rank of, if a launcher has started it.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use fp8lm_rendezvous::{Identity, Options, Store, discover, discover_token};

/// Which rank this process is, if a launcher's variables say so.
pub(crate) fn found() -> Result<Option<Identity>> {
    Ok(discover(&variable)?)
}

/// Which rank this process is, by its launcher's variables.
pub(crate) fn identity() -> Result<Identity> {
    found()?.context(
        "no launcher has told this process its rank: expected one that torchrun, srun, mpirun, mpiexec, Kubernetes or \
         fp8lm spawn has started, or RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT to be set",
    )
}

/// Meets the other ranks; each call may wait for them so long.
pub(crate) fn join(identity: &Identity, timeout: Duration) -> Result<Store> {
    let options = Options { token: discover_token(&variable)?, timeout, ..Options::default() };
    Ok(Store::join(identity, &options)?)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}
