//! The variables of a task that Slurm's `srun` has started.

use super::variables::{Number, Variables, cut, invalid};
use crate::{Address, Error, Identity, Launcher, Node, Result, expand_hosts};

pub(super) fn read(variables: &Variables<'_>) -> Result<Identity> {
    let given = "SLURM_PROCID";
    let sizes = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"];
    let world_size = variables.size(&sizes, given)?;
    expect_task(variables, world_size)?;
    let node = node(variables)?;
    let local_rank = variables.required(&["SLURM_LOCALID"], given)?;
    let local_size = local_size(variables, node, world_size)?;
    Ok(Identity {
        rank: variables.required(&[given], given)?.below(world_size)?,
        world_size: world_size.value,
        local_rank: local_rank.below(local_size)?,
        local_size: local_size.value,
        node: Some(node),
        master: master(variables)?,
        restarts: variables.number("SLURM_RESTART_COUNT")?.unwrap_or(0),
        ..Identity::alone(Launcher::Slurm)
    })
}

/// The script of a batch job has the variables of its first task, but is in no step.
fn expect_task(variables: &Variables<'_>, world_size: Number) -> Result<()> {
    let tasks = world_size.value;
    let is_step =
        ["SLURM_STEP_ID", "SLURM_STEPID"].iter().any(|name| variables.text(name).is_some());
    if is_step || tasks == 1 { Ok(()) } else { Err(Error::BatchScript { tasks }) }
}

fn node(variables: &Variables<'_>) -> Result<Node> {
    let counts = ["SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"];
    let count = variables.size(&counts, "SLURM_PROCID")?;
    let rank = variables.required(&["SLURM_NODEID"], "SLURM_PROCID")?.below(count)?;
    Ok(Node { rank, count: count.value })
}

/// Tasks on this node, from a list such as `2(x3),1`.
fn local_size(variables: &Variables<'_>, node: Node, world_size: Number) -> Result<Number> {
    if node.count == 1 {
        return Ok(world_size);
    }
    let names = ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"];
    let list = names.iter().find_map(|name| Some((*name, variables.text(name)?)));
    let unset = Error::Unset { variable: names[0], given: "SLURM_PROCID" };
    let (variable, list) = list.ok_or(unset)?;
    let value = tasks_of(&list, node.rank);
    let error = || invalid(variable, &list, "tasks of every node, such as 2(x3),1");
    value.map(|value| Number { variable, value }).ok_or_else(error)
}

fn tasks_of(list: &str, node: usize) -> Option<usize> {
    let mut nodes = 0usize;
    for item in list.split(',') {
        let (tasks, times) = match item.split_once("(x") {
            Some((tasks, times)) => (tasks, times.strip_suffix(')')?.parse().ok()?),
            None => (item, 1usize),
        };
        nodes = nodes.checked_add(times)?;
        if node < nodes {
            return tasks.parse().ok();
        }
    }
    None
}

/// The first host of the list, and a port by the job, unless variables say otherwise.
fn master(variables: &Variables<'_>) -> Result<Option<Address>> {
    let host = match variables.host()? {
        Some(host) => Some(host),
        None => first_host(variables)?,
    };
    let port = match variables.port()? {
        Some(port) => Some(port),
        None => variables.first(&["SLURM_JOB_ID", "SLURM_JOBID"])?.map(port_of),
    };
    Ok(host.zip(port).map(|(host, port)| Address { host, port }))
}

fn first_host(variables: &Variables<'_>) -> Result<Option<String>> {
    let names = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
    let Some(list) = names.iter().find_map(|name| variables.text(name)) else { return Ok(None) };
    let first = expand_hosts(&list)?.into_iter().next();
    let empty = Error::HostList { list: cut(&list), byte: 0, problem: "expected a host" };
    first.map(Some).ok_or(empty)
}

/// Below what systems give to outgoing connections. Two jobs may come to share one; rank 0 of the later then says so.
fn port_of(job: Number) -> u16 {
    let offset = u16::try_from(job.value % 10_000).unwrap_or(0);
    20_000 + offset
}
