//! The processes of a node, and what they are told of their place: torchrun's variables.

use std::{env, ffi::OsString, net::TcpListener};

use anyhow::{Result, anyhow, ensure};
use fp8lm_rendezvous::Token;

use super::{child::Child, log::Logs};
use crate::cli::SpawnArgs;

/// A node of a job.
#[derive(Debug)]
pub(super) struct Node {
    rank: u32,
    count: u32,
    /// None if mpirun starts them.
    processes: Option<u32>,
    /// Where rank 0 serves; of a single node's job every start chooses a port.
    master: Option<(String, u16)>,
    /// The job's secret, if nobody has set one: on a single node it can be made here.
    token: Option<String>,
    /// How often the processes have been started before.
    pub(super) restarts: u32,
}

impl Node {
    /// The node of a command line.
    pub(super) fn new(args: &SpawnArgs) -> Result<Self> {
        let (rank, count) = (args.node_rank, args.nodes);
        ensure!(rank < count, "--node-rank {rank}: expected less than --nodes {count}");
        ensure!(
            count == 1 || args.master.is_some(),
            "--nodes {count}: expected --master HOST:PORT, of the first of them"
        );
        let has_token = env::var_os(TOKEN).is_some_and(|token| !token.is_empty());
        let token = (count == 1 && !has_token).then(Token::random).transpose()?;
        let processes = (!args.mpirun).then_some(args.processes);
        let master = args.master.clone();
        Ok(Self { rank, count, processes, master, token, restarts: 0 })
    }

    /// Starts the processes. If one does not start, those before it end.
    pub(super) fn start(&self, command: &[OsString], logs: &Logs) -> Result<Vec<Child>> {
        let start = |name: &str, is_shown, variables: &[_]| {
            let log = logs.open(name, self.restarts)?;
            Child::start(name.to_owned(), is_shown, command, variables, log)
        };
        let Some(processes) = self.processes else {
            return Ok(vec![start(MPIRUN, true, &[])?]);
        };
        let shared = self.shared_variables(processes)?;
        let start_rank = |local_rank: u32| {
            let rank = self.rank * processes + local_rank;
            let own = [("RANK", rank.to_string()), ("LOCAL_RANK", local_rank.to_string())];
            start(&format!("rank {rank}"), rank == 0, &[&own, &shared[..]].concat())
        };
        (0..processes).map(start_rank).collect()
    }

    /// What all processes are told.
    fn shared_variables(&self, processes: u32) -> Result<Vec<(&'static str, String)>> {
        let (host, port) = match &self.master {
            Some(master) => master.clone(),
            None => ("127.0.0.1".to_owned(), free_port()?),
        };
        let mut variables = vec![
            ("WORLD_SIZE", (self.count * processes).to_string()),
            ("LOCAL_WORLD_SIZE", processes.to_string()),
            ("GROUP_RANK", self.rank.to_string()),
            ("GROUP_WORLD_SIZE", self.count.to_string()),
            ("TORCHELASTIC_RESTART_COUNT", self.restarts.to_string()),
            ("MASTER_ADDR", host),
            ("MASTER_PORT", port.to_string()),
        ];
        variables.extend(self.token.clone().map(|token| (TOKEN, token)));
        Ok(variables)
    }
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(port.map_err(|error| anyhow!("no port is free on 127.0.0.1: {error}"))?.port())
}

/// The name of the only process, if mpirun is what is started.
pub(super) const MPIRUN: &str = "mpirun";
/// The variable of the job's secret.
const TOKEN: &str = "FP8LM_TOKEN";
