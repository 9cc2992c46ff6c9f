//! Training on meshes of ranks: as one rank would, to the bit where that is promised.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::program::{checkpoint, fp8lm, metrics, succeed, train};

/// A mesh, as the keys that make it.
type Mesh = &'static [&'static str];

/// `tiny` with a block for each of four stages, and micro-batches for each of them.
const MODEL: Mesh = &["model.layers=4", "data.batch=2", "data.micro_batches=8"];

const MESHES: [(&str, Mesh); 8] = [
    ("data 2", &["parallel.data=2"]),
    ("tensor 2, in sequence", &["parallel.tensor=2"]),
    ("tensor 2, replicated", &["parallel.tensor=2", "parallel.sequence=false"]),
    ("pipeline 2", &["parallel.pipeline=2"]),
    (
        "pipeline 2, interleaved",
        &["parallel.pipeline=2", "parallel.schedule=interleaved", "parallel.chunks=2"],
    ),
    ("pipeline 4, dualpipe", &["parallel.pipeline=4", "parallel.schedule=dualpipe"]),
    ("pipeline 2, dualpipe-v", &["parallel.pipeline=2", "parallel.schedule=dualpipe-v"]),
    (
        "2 x 2 x 2",
        &["parallel.data=2", "parallel.tensor=2", "parallel.pipeline=2", "parallel.schedule=zb-h1"],
    ),
];

#[test]
fn every_mesh_trains_close_to_one_rank() {
    let folder = tempdir().unwrap();
    for recipe in ["fp32", "bf16", "te", "fp8lm-1", "fp8lm-3", "deepseek-v3"] {
        let name = format!("recipe.name={recipe}");
        let losses = |mesh: &str, keys: Mesh| {
            let keys = [keys, &[&*name, "run.steps=8"]].concat();
            let run = run(&folder, &format!("{recipe} on {mesh}"), &keys);
            let [training, validation] = last_losses(&run);
            [training, validation, first_norm(&run)]
        };
        let one = losses("one rank", &[]);
        // The last mesh has all axes.
        let all = ["fp8lm-3", "deepseek-v3"].contains(&recipe);
        let meshes = if all { &MESHES[..] } else { &MESHES[MESHES.len() - 1..] };
        for (mesh, keys) in meshes.iter().copied() {
            let found = losses(mesh, keys);
            for (found, one) in found.into_iter().zip(one) {
                let off = (found / one - 1.0).abs();
                assert!(off < 0.005, "{recipe} on {mesh}: {found}, and {one} on one rank");
            }
        }
    }
}

/// The deterministic mode: neither the pipeline and its schedule nor data-parallel ranks change a bit.
#[test]
fn the_deterministic_mode_has_the_bits_of_one_rank() {
    let folder = tempdir().unwrap();
    const PIPELINES: [Mesh; 13] = [
        &["parallel.data=2"],
        &["parallel.data=4", "parallel.zero=2"],
        &["parallel.data=8", "parallel.zero=0"],
        &["parallel.pipeline=2"],
        &["parallel.pipeline=4", "parallel.schedule=gpipe"],
        &["parallel.pipeline=4", "parallel.schedule=zb-h1"],
        &["parallel.pipeline=2", "parallel.schedule=interleaved", "parallel.chunks=2"],
        &["parallel.pipeline=4", "parallel.schedule=dualpipe"],
        &["parallel.pipeline=2", "parallel.schedule=dualpipe-v"],
        &["parallel.pipeline=2", "parallel.data=2", "parallel.schedule=zb-h1"],
        &["parallel.pipeline=2", "parallel.data=2", "parallel.schedule=dualpipe"],
        &["parallel.pipeline=2", "parallel.data=2", "parallel.zero=2", "run.recompute=full"],
        &["parallel.pipeline=4", "parallel.schedule=zb-h1", "run.recompute=selective"],
    ];
    for recipe in ["fp8lm-3", "deepseek-v3"] {
        let name = format!("recipe.name={recipe}");
        assert_deterministic(&folder, &[&*name], &PIPELINES);
    }
    // Its table gets two gradients of each micro-batch.
    let data: [Mesh; 2] = [&["parallel.data=2"], &["parallel.data=4", "parallel.zero=2"]];
    assert_deterministic(&folder, &["model.tied_head=true"], &data);
}

fn assert_deterministic(folder: &TempDir, keys: &[&str], meshes: &[Mesh]) {
    let own = [keys, &["run.steps=3", "parallel.deterministic=true"]].concat();
    let reference = run(folder, &keys.concat(), &own);
    for (index, mesh) in meshes.iter().enumerate() {
        let found = run(folder, &format!("{} {index}", keys.concat()), &[mesh, &own[..]].concat());
        assert_eq!(losses(&found), losses(&reference), "{keys:?}, {mesh:?}");
        let same = checkpoint(&found, 3) == checkpoint(&reference, 3);
        assert!(same, "{keys:?}, {mesh:?}: the checkpoint is not that of one rank");
    }
}

#[test]
fn streams_change_no_bit_of_a_mesh() {
    let folder = tempdir().unwrap();
    for (mesh, keys) in &MESHES[3..] {
        let keys = [*keys, &["run.steps=2"]].concat();
        let reference = run(&folder, mesh, &keys);
        let late = folder.path().join(format!("{mesh}, late"));
        succeed(command(&late, &keys).args(["--adversarial", "5"]));
        assert_eq!(losses(&late), losses(&reference), "{mesh}");
        assert!(checkpoint(&late, 2) == checkpoint(&reference, 2), "{mesh}");
    }
}

/// Checkpoints hold whole tensors, so any mesh can go on with them.
#[test]
fn a_run_goes_on_on_any_other_mesh() {
    let folder = tempdir().unwrap();
    let keys = |mesh: Mesh| [mesh, &["run.steps=8", "run.checkpoint_every=4"]].concat();
    for (index, (mesh, first)) in MESHES.into_iter().enumerate().skip(1) {
        let whole = run(&folder, mesh, &keys(first));
        let [_, reference] = last_losses(&whole);
        // On the same mesh, and on the next one.
        for (other, second) in [(mesh, first), MESHES[(index + 1) % MESHES.len()]] {
            let begun = run(&folder, &format!("{mesh} to {other}"), &keys(first));
            std::fs::remove_file(begun.join("checkpoints/step-000008.safetensors")).unwrap();
            resume(&begun, second);
            let [_, found] = last_losses(&begun);
            let off = (found / reference - 1.0).abs();
            assert!(off < 0.005, "{mesh}, then {other}: {found}, undisturbed {reference}");
            if mesh == other {
                assert!(checkpoint(&begun, 8) == checkpoint(&whole, 8), "{mesh}: other bits");
            }
        }
    }
}

fn run(folder: &TempDir, name: &str, keys: &[&str]) -> PathBuf {
    let run = folder.path().join(name);
    succeed(&mut command(&run, keys));
    run
}

fn command(run: &Path, keys: &[&str]) -> std::process::Command {
    let mut command = train(run);
    command.arg("--quiet");
    for key in MODEL.iter().chain(keys) {
        command.args(["--set", key]);
    }
    command
}

/// Goes on with a run on another mesh: every axis that it does not name has one rank.
fn resume(run: &Path, mesh: Mesh) {
    let mut command = fp8lm();
    command.arg("train").arg("--resume").arg(run).arg("--quiet");
    let one = ["parallel.data=1", "parallel.tensor=1", "parallel.pipeline=1"];
    let plain = ["parallel.sequence=true", "parallel.schedule=1f1b", "parallel.chunks=1"];
    for key in one.iter().chain(&plain).chain(mesh) {
        command.args(["--set", key]);
    }
    succeed(&mut command);
}

/// The training losses of all steps, and the validation losses, to the bit.
fn losses(run: &Path) -> Vec<[Value; 3]> {
    let records = metrics(run).into_iter();
    records
        .map(|record| ["loss", "validation_loss", "grad_norm"].map(|key| record[key].clone()))
        .collect()
}

/// The norm of the first step's gradients: AdamW would hide a factor in them from the losses.
fn first_norm(run: &Path) -> f64 {
    metrics(run)[0]["grad_norm"].as_f64().unwrap()
}

/// The last training and validation loss.
fn last_losses(run: &Path) -> [f64; 2] {
    let last = metrics(run).pop().unwrap();
    ["loss", "validation_loss"].map(|key| last[key].as_f64().unwrap())
}
