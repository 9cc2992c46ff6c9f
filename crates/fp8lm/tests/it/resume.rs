//! A run that was stopped, however, comes to the same bits as one that was not.

use std::{
    path::Path,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::tempdir;

use crate::program::{assert_same_run, fp8lm, metrics, succeed, train};

const STEPS: &str = "run.steps=12";

#[test]
fn kill_9_changes_no_bit() {
    let folder = tempdir().unwrap();
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    succeed(train(&whole).args(["--set", STEPS, "--set", "run.checkpoint_every=4", "--quiet"]));
    let mut child = start(&torn, "run.checkpoint_every=4");
    wait_for_step(&torn, 6);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = metrics(&torn).len();
    assert!(before < 12, "the run was over before it could be killed");
    succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&torn));
    assert_same_run(&whole, &torn, 12);
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_and_says_how_to_go_on() {
    let folder = tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    succeed(train(&whole).args(["--set", STEPS, "--set", "run.checkpoint_every=100", "--quiet"]));
    let child = start(&stopped, "run.checkpoint_every=100");
    wait_for_step(&stopped, 3);
    let id = child.id().to_string();
    succeed(std::process::Command::new("kill").args(["-INT", &id]));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("fp8lm train --resume"), "{message}");
    succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&stopped));
    assert_same_run(&whole, &stopped, 12);
}

#[test]
fn threads_change_no_bit() {
    let folder = tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for (path, threads) in [(&one, "run.threads=1"), (&two, "run.threads=2")] {
        succeed(train(path).args(["--set", STEPS, "--set", threads, "--quiet"]));
    }
    assert_same_run(&one, &two, 12);
}

#[test]
fn every_recipe_trains_and_resumes() {
    for recipe in ["fp32", "bf16", "te", "fp8lm-1", "fp8lm-2", "fp8lm-3"] {
        let folder = tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let name = format!("recipe.name={recipe}");
        let common = ["--quiet", "--set", &name, "--set", "data.micro_batches=2"];
        succeed(train(&whole).args(common).args(["--set", "run.steps=6"]));
        succeed(train(&parts).args(common).args([
            "--set",
            "run.steps=6",
            "--set",
            "run.checkpoint_every=3",
        ]));
        std::fs::remove_file(parts.join("checkpoints/step-000006.safetensors")).unwrap();
        succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&parts));
        assert_same_run(&whole, &parts, 6);
    }
}

fn start(folder: &Path, checkpoints: &str) -> Child {
    let mut command = train(folder);
    command.args(["--set", STEPS, "--set", checkpoints]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a run has written so many records.
fn wait_for_step(folder: &Path, step: usize) {
    let started = Instant::now();
    let metrics = folder.join("metrics.jsonl");
    let lines = || std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    while lines() < step {
        assert!(started.elapsed() < Duration::from_secs(60), "no step {step} in a minute");
        sleep(Duration::from_millis(1));
    }
}
