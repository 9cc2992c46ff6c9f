//! What launchers set, and what comes of it.

use std::collections::BTreeMap;

use super::*;
use crate::{Address, Error, Node};

/// Variables as `A=1 B=2`.
fn discover_in(variables: &str) -> Result<Option<Identity>> {
    let pairs = variables.split_whitespace().filter_map(|pair| pair.split_once('='));
    let map: BTreeMap<_, _> = pairs.collect();
    discover(&|name| map.get(name).map(|value| (*value).to_owned()))
}

fn found(variables: &str) -> Identity {
    discover_in(variables).unwrap_or_else(|error| panic!("{variables}: {error}")).unwrap()
}

fn refused(variables: &str) -> String {
    discover_in(variables).expect_err(variables).to_string()
}

fn address(host: &str, port: u16) -> Option<Address> {
    Some(Address { host: host.into(), port })
}

#[test]
fn without_a_launcher_there_is_nothing() {
    assert_eq!(discover_in(""), Ok(None));
    assert_eq!(
        discover_in("WORLD_SIZE=4 MASTER_ADDR=a MASTER_PORT=1 SLURM_JOB_ID=7 RANK="),
        Ok(None)
    );
}

#[test]
fn torchrun_says_all() {
    let text = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 GROUP_RANK=1 GROUP_WORLD_SIZE=2 \
                MASTER_ADDR=n1 MASTER_PORT=29500 TORCHELASTIC_RESTART_COUNT=2";
    let expected = Identity {
        launcher: Launcher::Torchrun,
        rank: 5,
        world_size: 8,
        local_rank: 1,
        local_size: 4,
        node: Some(Node { rank: 1, count: 2 }),
        master: address("n1", 29500),
        restarts: 2,
    };
    assert_eq!(found(text), expected);
    // The agent's own store has the port.
    let agent = found(&format!("{text} TORCHELASTIC_USE_AGENT_STORE=True"));
    assert_eq!(agent.master, address("n1", 29501));
    let none = found(&format!("{text} TORCHELASTIC_USE_AGENT_STORE=False"));
    assert_eq!(none.master, address("n1", 29500));
}

#[test]
fn kubeflow_starts_a_process_a_pod() {
    let identity = found("RANK=1 WORLD_SIZE=2 MASTER_ADDR=job-master-0 MASTER_PORT=23456");
    assert_eq!((identity.local_rank, identity.local_size), (0, 1));
    assert_eq!(identity.node, Some(Node { rank: 1, count: 2 }));
}

#[test]
fn open_mpi_says_nothing_of_nodes() {
    let text = "OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 \
                OMPI_COMM_WORLD_LOCAL_SIZE=4 OMPI_COMM_WORLD_NODE_RANK=1";
    let identity = found(text);
    assert_eq!((identity.launcher, identity.rank, identity.world_size), (Launcher::OpenMpi, 3, 8));
    assert_eq!((identity.local_rank, identity.local_size), (1, 4));
    assert_eq!((identity.node, &identity.master), (None, &None));
    // Under Slurm `mpirun` runs in a step of its own, whose tasks are not the ranks.
    let slurm = "SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LOCALID=0 SLURM_STEP_ID=0";
    assert_eq!(found(&format!("{slurm} {text}")), identity);
}

#[test]
fn mpich_says_all_but_nodes() {
    let identity =
        found("PMI_RANK=1 PMI_SIZE=2 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2 SLURM_PROCID=0");
    assert_eq!((identity.launcher, identity.rank, identity.world_size), (Launcher::Pmi, 1, 2));
    assert_eq!((identity.local_rank, identity.local_size), (1, 2));
    assert_eq!(identity.node, Some(Node { rank: 0, count: 1 }));
}

#[test]
fn pmix_says_the_rank_alone() {
    let identity = found("PMIX_RANK=1 WORLD_SIZE=2");
    assert_eq!((identity.launcher, identity.rank, identity.world_size), (Launcher::Pmi, 1, 2));
    assert_eq!(refused("PMIX_RANK=1"), "the variable WORLD_SIZE is not set, though PMIX_RANK is");
}

const SLURM: &str = "SLURM_PROCID=6 SLURM_NTASKS=7 SLURM_LOCALID=0 SLURM_NODEID=3 SLURM_NNODES=4 SLURM_STEP_ID=0 \
                     SLURM_STEP_TASKS_PER_NODE=2(x3),1 SLURM_STEP_NODELIST=gpu[07-09,12] SLURM_JOB_ID=123456";

#[test]
fn slurm_says_all() {
    // Under `--mpi=pmix` it sets the rank of PMIx too.
    let expected = Identity {
        launcher: Launcher::Slurm,
        rank: 6,
        world_size: 7,
        local_rank: 0,
        local_size: 1,
        node: Some(Node { rank: 3, count: 4 }),
        master: address("gpu07", 23456),
        restarts: 3,
    };
    assert_eq!(found(&format!("{SLURM} SLURM_RESTART_COUNT=3 PMIX_RANK=6")), expected);
    let other = found(&format!("{SLURM} MASTER_ADDR=gpu08 MASTER_PORT=29500"));
    assert_eq!(other.master, address("gpu08", 29500));
}

#[test]
fn a_batch_script_is_no_task() {
    let script = "SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NNODES=1";
    assert_eq!(discover_in(script), Err(Error::BatchScript { tasks: 4 }));
    let alone = script.replace("NTASKS=4", "NTASKS=1");
    assert_eq!(found(&alone).world_size, 1);
}

#[test]
fn an_indexed_job_has_a_process_a_pod() {
    let identity =
        found("JOB_COMPLETION_INDEX=2 WORLD_SIZE=4 MASTER_ADDR=job-0.job MASTER_PORT=29500");
    assert_eq!(
        (identity.launcher, identity.rank, identity.world_size),
        (Launcher::Kubernetes, 2, 4)
    );
    assert_eq!((identity.local_rank, identity.local_size), (0, 1));
    assert_eq!(identity.node, Some(Node { rank: 2, count: 4 }));
    let unset = "the variable WORLD_SIZE is not set, though JOB_COMPLETION_INDEX is";
    assert_eq!(refused("JOB_COMPLETION_INDEX=2"), unset);
}

#[test]
fn what_does_not_fit_is_named() {
    let number = "expected a whole number below 2^31";
    let cases = [
        ("RANK=0", "the variable WORLD_SIZE is not set, though RANK is".to_owned()),
        ("RANK=-1 WORLD_SIZE=2", format!("the variable RANK is \"-1\": {number}")),
        ("RANK=+1 WORLD_SIZE=2", format!("the variable RANK is \"+1\": {number}")),
        (
            "RANK=0 WORLD_SIZE=9999999999",
            format!("the variable WORLD_SIZE is \"9999999999\": {number}"),
        ),
        ("RANK=0 WORLD_SIZE=0", "the variable WORLD_SIZE is \"0\": expected 1 to 65536".into()),
        (
            "RANK=2 WORLD_SIZE=2",
            "the variable RANK is 2: expected less than 2, the value of WORLD_SIZE".into(),
        ),
        (
            "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0",
            "the variable LOCAL_WORLD_SIZE is not set, though LOCAL_RANK is".into(),
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a",
            "the variable MASTER_PORT is not set, though MASTER_ADDR is".into(),
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0",
            "the variable MASTER_PORT is \"0\": expected a port, 1 to 65535".into(),
        ),
    ];
    for (variables, message) in cases {
        assert_eq!(refused(variables), message, "{variables}");
    }
    let tasks = refused(&SLURM.replace("2(x3),1", "2(x3"));
    assert!(
        tasks.starts_with("the variable SLURM_STEP_TASKS_PER_NODE is \"2(x3\": expected tasks"),
        "{tasks}"
    );
    let hosts = refused(&SLURM.replace("gpu[07-09,12]", "gpu[07-"));
    assert!(hosts.starts_with("the list of hosts \"gpu[07-\": expected a number"), "{hosts}");
}

#[test]
fn a_long_value_is_cut_and_a_token_is_never_shown() {
    let message = refused(&format!("RANK={} WORLD_SIZE=2", "9".repeat(10_000)));
    assert!(message.len() < 400, "{message}");
    let error = discover_token(&|_| Some("secret".into())).unwrap_err();
    assert_eq!(error, Error::TokenLength { bytes: 6, min: 16, max: 4096 });
    assert!(discover_token(&|_| None).unwrap().is_none());
    assert!(discover_token(&|_| Some("0123456789abcdef".into())).unwrap().is_some());
}
