//! What the processes of a node are told of their place: torchrun's variables.

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
    processes: u32,
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
        let has_token = env::var_os(TOKEN).is_some();
        let token = (count == 1 && !has_token).then(Token::random).transpose()?;
        let (processes, master) = (args.processes, args.master.clone());
        Ok(Self { rank, count, processes, master, token, restarts: 0 })
    }

    /// Starts the processes. If one does not start, those before it end.
    pub(super) fn start(&self, command: &[OsString], logs: &Logs) -> Result<Vec<Child>> {
        let (host, port) = match &self.master {
            Some(master) => master.clone(),
            None => ("127.0.0.1".to_owned(), free_port()?),
        };
        let start = |local_rank| {
            let mut variables = self.variables(local_rank);
            variables.push(("MASTER_ADDR", host.clone()));
            variables.push(("MASTER_PORT", port.to_string()));
            variables.extend(self.token.clone().map(|token| (TOKEN, token)));
            let rank = self.rank_of(local_rank);
            Child::start(rank, command, &variables, logs.open(rank, self.restarts)?)
        };
        (0..self.processes).map(start).collect()
    }

    fn variables(&self, local_rank: u32) -> Vec<(&'static str, String)> {
        let numbers = [
            ("RANK", self.rank_of(local_rank)),
            ("WORLD_SIZE", self.count * self.processes),
            ("LOCAL_RANK", local_rank),
            ("LOCAL_WORLD_SIZE", self.processes),
            ("GROUP_RANK", self.rank),
            ("GROUP_WORLD_SIZE", self.count),
            ("TORCHELASTIC_RESTART_COUNT", self.restarts),
        ];
        numbers.map(|(name, number)| (name, number.to_string())).to_vec()
    }

    fn rank_of(&self, local_rank: u32) -> u32 {
        self.rank * self.processes + local_rank
    }
}

/// A port that nobody listens on.
fn free_port() -> Result<u16> {
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(port.map_err(|error| anyhow!("no port is free on 127.0.0.1: {error}"))?.port())
}

/// The variable of the job's secret.
const TOKEN: &str = "FP8LM_TOKEN";
