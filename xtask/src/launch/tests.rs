//! What `--dry-run` prints, against files, and what is refused.
//!
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo test --package xtask`, and read the difference.

use std::{env, fs, path::Path};

use anyhow::Result;
use clap::Parser;
use yaml_rust2::YamlLoader;

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
    let line = "slurm /shared/config.toml --run /shared/50%/a --processes-per-node 4 --max-restarts 10 \
                --sbatch --cpus-per-task=8";
    expect("slurm-cpu-nodes.sbatch", [8, 2, 1], line);
    expect("slurm-gpus.sbatch", [2, 2, 1], "slurm gpt-125m --run /shared/runs/a --device cuda");
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
fn k8s() {
    let line = "k8s quickstart --run /runs/a --image fp8lm:1 --claim runs";
    expect("k8s-cpu.yaml", [2, 2, 1], line);
    expect("k8s-gpus.yaml", [8, 1, 1], &format!("{line} --device cuda"));
    let line = "k8s gpt-7b --run /runs/team/GPT_7b.1 --image registry.example/fp8lm:1 --claim runs --device cuda \
                --max-restarts 10 --secret team --grace-period 600";
    expect("k8s-gpus-nodes.yaml", [4, 2, 2], line);
}

#[test]
fn the_manifest_means_what_it_says() {
    let line =
        "k8s x --run /runs/a'$(B)\"/c --image i'\"#: --claim c --device cuda --max-restarts 7";
    let line = Line::try_parse_from(["launch"].into_iter().chain(line.split(' '))).unwrap();
    let toml = "[parallel]\ndata = 16\n\n[data]\nfiles = [\"a: b # c\"]\n";
    let launcher = &line.options.launcher;
    let job = Job::new(launcher, Path::new("/fp8lm"), toml).unwrap();
    let documents = YamlLoader::load_from_str(&render(launcher, &job).unwrap()).unwrap();
    let [config, set] = &documents[..] else { panic!("two documents: {documents:?}") };
    assert_eq!(config["data"]["config.toml"].as_str(), Some(toml));
    assert_eq!(set["spec"]["failurePolicy"]["maxRestarts"].as_i64(), Some(7));
    let jobs = set["spec"]["replicatedJobs"].as_vec().unwrap();
    let spec = &jobs[0]["template"]["spec"];
    assert_eq!((jobs.len(), spec["completions"].as_i64()), (1, Some(2)));
    let rules = spec["podFailurePolicy"]["rules"].as_vec().unwrap();
    assert_eq!(rules[0]["onPodConditions"][0]["status"].as_str(), Some("True"));
    assert_eq!(rules[1]["onExitCodes"]["values"][0].as_i64(), Some(75));
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["name"], rules[1]["onExitCodes"]["containerName"]);
    assert_eq!(container["image"].as_str(), Some("i'\"#:"));
    assert_eq!(container["resources"]["limits"]["nvidia.com/gpu"].as_i64(), Some(8));
    assert_eq!(container["volumeMounts"][1]["mountPath"].as_str(), Some("/runs/a'$(B)\""));
    let command = container["command"].as_vec().unwrap();
    let command: Vec<_> = command.iter().map(|word| word.as_str().unwrap()).collect();
    let run = "/runs/a'$$(B)\"/c";
    let after = |option| command.iter().skip_while(|word| **word != option).nth(1).copied();
    assert_eq!(after("--run"), Some(run));
    assert_eq!(after("--logs"), Some(&*format!("{run}.logs")));
    assert_eq!(after("--node-rank"), Some("$(NODE_RANK)"));
    let variables = container["env"].as_vec().unwrap();
    assert_eq!(variables[0]["name"].as_str(), Some("NODE_RANK"));
    let secret = &variables[1]["valueFrom"]["secretKeyRef"];
    assert_eq!(
        (secret["name"].as_str(), secret["key"].as_str()),
        (Some("fp8lm-token"), Some("token"))
    );
}

fn refused(line: &str, mesh: [u32; 3]) -> String {
    format!("{:#}", dry_run(line, mesh).unwrap_err())
}

#[test]
fn what_does_not_fit_is_refused_in_a_sentence() {
    let message = refused("slurm tiny --run r --processes-per-node 3", [2, 2, 1]);
    let expected = "data 2 x tensor 2 x pipeline 1 are 4 ranks, which do not fill nodes of 3: expected \
                    --processes-per-node to divide them";
    assert_eq!(message, expected);
    let message = refused("mpi tiny --run r --processes-per-node 2", [2, 2, 1]);
    assert_eq!(message, "2 nodes: expected --hostfile FILE with their names");
    let first = "2 nodes: expected --master HOST:PORT, of the first of them";
    assert_eq!(refused("mpi tiny --run r --device cuda --hostfile h", [16, 1, 1]), first);
    assert_eq!(
        refused("mpi tiny --run r --device cuda --hostfile h --master n1", [16, 1, 1]),
        first
    );
    assert_eq!(refused("torchrun tiny --run r --device cuda", [16, 1, 1]), first);
    let message = refused("k8s tiny --run /a --image i --claim c", [1, 1, 1]);
    assert_eq!(message, "--run /a: expected a folder in a volume, such as /runs/a");
    for name in ["7b", "a+b", "a-", "a234567890a234567890a234567890a234567890a"] {
        let message =
            refused(&format!("k8s tiny --run /runs/{name} --image i --claim c"), [1, 1, 1]);
        assert!(message.starts_with(&format!("--run .../{name}: expected a name")), "{message}");
    }
    let line = ["launch", "local", "tiny", "--run", "/a\ntouch b"];
    let line = Line::try_parse_from(line).unwrap();
    let error = Job::new(&line.options.launcher, Path::new("/fp8lm"), "").unwrap_err();
    assert_eq!(error.to_string(), r#"--run "/a\ntouch b": expected a path of one line"#);
    let message = refused(r"slurm tiny --run /a\b", [1, 1, 1]);
    assert_eq!(
        message,
        r"--run /a\b: expected a path without backslashes, which sbatch takes for its own"
    );
    let message = refused("local tiny --run r --processes-per-node 2", [2, 2, 1]);
    assert!(message.starts_with("--processes-per-node 2: expected none"), "{message}");
}
