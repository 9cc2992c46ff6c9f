//! What ranks on GPUs are told, by a Slurm that takes nodes of `/dev` for GPUs and a shell script in the program's
//! place.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};

use super::cluster::{Cluster, Submitted};

/// Every rank is told of all GPUs of the node and of its place, and all have one secret that stands in no file.
pub(super) fn check(cluster: &Cluster) -> Result<()> {
    let program = cluster.folder().join("program");
    fs::write(&program, PROGRAM)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let options = ["--device", "cuda", "--processes-per-node", "4"];
    let run = cluster.submit(&program, &cluster.folder().join("runs/gpus"), &options)?.end()?;
    let log = Submitted::log(&run);
    let mut secrets = BTreeSet::new();
    for rank in 0..4 {
        let log =
            if rank == 0 { log.clone() } else { log.with_file_name(format!("rank-{rank}.log")) };
        let text = fs::read_to_string(&log).with_context(|| log.display().to_string())?;
        let told = format!("{rank} of 4, GPU {rank} of 0,1,2,3, --link nccl --device cuda, ");
        let secret = text.trim().strip_prefix(&told);
        let secret =
            secret.with_context(|| format!("{}: expected {told}\n{text}", log.display()))?;
        secrets.insert(secret.to_owned());
    }
    let file = fs::read_to_string(log.with_file_name("job.sbatch"))?;
    let is_secret = |secret: &String| secret.len() == 64 && !file.contains(secret.as_str());
    ensure!(secrets.len() == 1 && secrets.iter().all(is_secret), "secrets: {secrets:?}");
    Ok(())
}

/// Knows a mesh of 4 ranks, and as a rank tells what it was started with.
const PROGRAM: &str = r#"#!/bin/bash
if [[ $1 == plan ]]; then
    printf '[parallel]\ndata = 4\n'
    exit
fi
echo "$SLURM_PROCID of $SLURM_NTASKS, GPU $SLURM_LOCALID of $CUDA_VISIBLE_DEVICES, ${*: -4}, $FP8LM_TOKEN"
"#;
