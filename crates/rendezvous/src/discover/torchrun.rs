//! torchrun's variables, which `fp8lm spawn` and Kubeflow set too.

use super::variables::{Number, Variables, obvious_node};
use crate::{Address, Error, Identity, Launcher, Node, Result};

pub(super) fn read(variables: &Variables<'_>) -> Result<Identity> {
    let world_size = variables.size(&["WORLD_SIZE"], "RANK")?;
    let rank = variables.required(&["RANK"], "WORLD_SIZE")?.below(world_size)?;
    let (local_rank, local_size) = local(variables, world_size)?;
    let mut identity = Identity {
        rank,
        world_size: world_size.value,
        local_rank,
        local_size,
        master: master(variables)?,
        restarts: variables.number("TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        ..Identity::alone(Launcher::Torchrun)
    };
    identity.node = node(variables)?.or_else(|| obvious_node(&identity));
    Ok(identity)
}

/// Kubeflow starts one process a pod, and names none of these.
fn local(variables: &Variables<'_>, world_size: Number) -> Result<(usize, usize)> {
    let Some(rank) = variables.first(&["LOCAL_RANK"])? else { return Ok((0, 1)) };
    let size = variables.size(&["LOCAL_WORLD_SIZE"], "LOCAL_RANK")?;
    if size.value > world_size.value {
        let Number { variable, value } = size;
        let bound = world_size.value + 1;
        return Err(Error::Beyond { variable, value, bound_variable: "WORLD_SIZE + 1", bound });
    }
    Ok((rank.below(size)?, size.value))
}

fn node(variables: &Variables<'_>) -> Result<Option<Node>> {
    let Some(count) = variables.first(&["GROUP_WORLD_SIZE", "NNODES"])? else { return Ok(None) };
    let rank = variables.first(&["GROUP_RANK", "NODE_RANK"])?;
    let node = |rank: Number| Ok(Node { rank: rank.below(count)?, count: count.value });
    rank.map(node).transpose()
}

/// The agent's own store has the port, where there is one; ours takes the next.
fn master(variables: &Variables<'_>) -> Result<Option<Address>> {
    let mut master = variables.master()?;
    if let Some(Address { port, .. }) = &mut master
        && variables.text("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text == "True")
    {
        *port = port.checked_add(1).unwrap_or(*port - 1);
    }
    Ok(master)
}
