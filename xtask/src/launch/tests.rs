//! What `--dry-run` prints, against files, and what is refused.
//!
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test --package xtask`, and read the difference.

use std::{env, fs, path::Path};

use anyhow::Result;
use clap::Parser;

use super::{Job, Options, render};
use crate::cargo;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// What the command line prints for a mesh of data-, tensor- and pipeline-parallel ranks.
fn dry_run(line: &str, mesh: [u32; 3]) -> Result<String> {
    let line = Line::try_parse_from(["launch"].into_iter().chain(line.split_whitespace()))?;
    let [data, tensor, pipeline] = mesh;
    let toml = format!("[parallel]\ndata = {data}\ntensor = {tensor}\npipeline = {pipeline}\n");
    let job = Job::new(&line.options.launcher, Path::new("/opt/fp8lm/fp8lm"), &toml)?;
    render(&line.options.launcher, &job)
}

/// Holds what is printed against a file.
#[track_caller]
fn expect(snapshot: &str, mesh: [u32; 3], line: &str) {
    let text = dry_run(line, mesh).unwrap();
    let path = cargo::root().join("xtask/src/launch/snapshots").join(snapshot);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} differs", path.display());
}

#[test]
fn local() {
    expect("local-cpu.sh", [2, 2, 1], "local quickstart --run /shared/runs/a");
    expect(
        "local-gpus.sh",
        [4, 2, 1],
        "local gpt-125m --run /shared/runs/a --device cuda --max-restarts 0",
    );
}

#[test]
fn mpi() {
    expect("mpi-cpu.sh", [2, 2, 1], "mpi quickstart --run /shared/runs/a --set run.steps=100");
    let line = "mpi /shared/config.toml --run /shared/runs/a --processes-per-node 4 --hostfile /shared/hosts";
    expect("mpi-cpu-nodes.sh", [4, 2, 1], line);
    let line =
        "mpi gpt-7b --run /shared/runs/a --device cuda --hostfile /shared/hosts --master n1:29500";
    expect("mpi-gpus-nodes.sh", [16, 1, 1], line);
}

#[test]
fn slurm() {
    expect("slurm-cpu.sbatch", [2, 2, 1], "slurm quickstart --run /shared/runs/a --time 10");
    let line =
        "slurm gpt-7b --run /shared/runs/a --device cuda --time 12:00:00 --sbatch --partition=gpu";
    expect("slurm-gpus-nodes.sbatch", [8, 4, 1], line);
}

#[test]
fn torchrun() {
    expect("torchrun-gpus.sh", [8, 1, 1], "torchrun gpt-125m --run /shared/runs/a --device cuda");
    let line =
        "torchrun gpt-7b --run /shared/runs/a --device cuda --master n1:29400 --max-restarts 10";
    expect("torchrun-gpus-nodes.sh", [4, 4, 2], line);
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let refused = |line, mesh| format!("{:#}", dry_run(line, mesh).unwrap_err());
    let message = refused("slurm tiny --run r --processes-per-node 3", [2, 2, 1]);
    let expected = "data 2 x tensor 2 x pipeline 1 are 4 ranks, which do not fill nodes of 3: expected \
                    --processes-per-node to divide them";
    assert_eq!(message, expected);
    let message = refused("mpi tiny --run r --processes-per-node 2", [2, 2, 1]);
    assert_eq!(message, "2 nodes: expected --hostfile FILE with their names");
    let message = refused("local tiny --run r --processes-per-node 2", [2, 2, 1]);
    assert!(message.starts_with("--processes-per-node 2: expected none"), "{message}");
}
