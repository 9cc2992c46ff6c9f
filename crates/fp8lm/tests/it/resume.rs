//! A run that was stopped, however, comes to the same bits as one that was not.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::tempdir;

use crate::program::{assert_same_run, fp8lm, metrics, succeed, train};

/// Enough that a run is not over before a signal reaches it.
const STEPS: &str = "run.steps=100";

#[test]
fn kill_9_changes_no_bit() {
    let folder = tempdir().unwrap();
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    let checkpoints = "run.checkpoint_every=4";
    succeed(train(&whole).args(["--set", STEPS, "--set", checkpoints, "--quiet"]));
    let mut child = start(&torn, checkpoints, 1);
    wait_for_step(&torn, 6);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = timings(&torn);
    assert!(before.len() < 100, "the run was over before it could be killed");
    succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&torn));
    assert_same_run(&whole, &torn, 100);
    // What led up to the checkpoint was kept, not made again.
    assert_eq!(timings(&torn)[..4], before[..4]);
}

/// Whoever sent the signal learns from the exit code whether to start the run again.
#[cfg(unix)]
#[test]
fn a_signal_saves_and_says_how_to_go_on() {
    let folder = tempdir().unwrap();
    let checkpoints = "run.checkpoint_every=1000";
    let whole = folder.path().join("whole");
    succeed(train(&whole).args(["--set", STEPS, "--set", checkpoints, "--quiet"]));
    for (signal, ranks, code) in
        [("-INT", 1, 130), ("-TERM", 1, 143), ("-USR1", 1, 75), ("-USR1", 2, 75)]
    {
        let stopped = folder.path().join(format!("stopped{signal}{ranks}"));
        let child = start(&stopped, checkpoints, ranks);
        wait_for_step(&stopped, 3);
        kill(&child, signal);
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal}: {message}");
        assert!(message.contains("fp8lm train --resume"), "{message}");
        let before = timings(&stopped);
        succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&stopped));
        assert_eq!(timings(&stopped)[..before.len()], before);
        if ranks == 1 {
            assert_same_run(&whole, &stopped, 100);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_ends_at_once() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    // A step of minutes.
    let long = ["--set", "data.batch=64", "--set", "data.micro_batches=20000", "--quiet"];
    let mut child = train(&run).args(long).spawn().unwrap();
    wait_until("the run begins", || run.join("metrics.jsonl").exists());
    for _ in 0..2 {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended before it was told to twice");
        kill(&child, "-INT");
        // Or the system would make one signal of two.
        sleep(Duration::from_millis(200));
    }
    wait_until("the program ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(run.join("checkpoints")).unwrap().count(), 0);
}

/// A rank may wait there for others that never come, and has nothing to save.
#[cfg(unix)]
#[test]
fn a_signal_before_the_first_step_ends_at_once() {
    let folder = tempdir().unwrap();
    let text = folder.path().join("text");
    succeed(Command::new("mkfifo").arg(&text));
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-USR1", 75)] {
        let mut child = train(&folder.path().join("run")).arg("--data").arg(&text).spawn().unwrap();
        // Opened when the program reads it, which goes on as long as this is open.
        let _text = std::fs::OpenOptions::new().write(true).open(&text).unwrap();
        kill(&child, signal);
        wait_until("the program ends", || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}

#[test]
fn threads_change_no_bit() {
    let folder = tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    for (path, threads) in [(&one, "run.threads=1"), (&two, "run.threads=2")] {
        succeed(train(path).args(["--set", "run.steps=12", "--set", threads, "--quiet"]));
    }
    assert_same_run(&one, &two, 12);
}

#[test]
fn every_recipe_and_shape_resumes() {
    let cases: [&[&str]; 14] = [
        &["recipe.name=fp32"],
        &["recipe.name=bf16"],
        &["recipe.name=te"],
        &["recipe.name=fp8lm-1", "model.norm=layer", "model.activation=gelu"],
        &["recipe.name=fp8lm-2", "model.tied_head=true"],
        &["recipe.name=fp8lm-3", "run.log_every=2", "run.evaluate_every=5"],
        &["recipe.name=fp8lm-3", "recipe.grad_accumulation=f32", "recipe.head_room=post"],
        &["recipe.name=fp8lm-3", "recipe.overrides=[{ blocks = [0, 0], recipe = 'bf16' }]"],
        &["recipe.name=fp8lm-3", "recipe.master=bf16", "recipe.second_moment=e5m2:pow2"],
        &["recipe.name=deepseek-v3", "recipe.accumulate=wgmma"],
        &["recipe.name=deepseek-v3", "recipe.columns=values", "recipe.weight_gradient_format=e5m2"],
        &["recipe.first_moment=e4m3:expand", "recipe.second_moment=e4m3:expand"],
        &[
            "recipe.name=fp8lm-3",
            "recipe.stochastic=['gradient','master','first_moment','second_moment','working']",
        ],
        &["recipe.name=deepseek-v3", "recipe.stochastic=['first_moment','second_moment']"],
    ];
    for sets in cases {
        let folder = tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let run = |path: &Path, every: &str| {
            let mut command = train(path);
            let common = ["data.micro_batches=2", "run.steps=6", every];
            command.args(common.iter().chain(sets).flat_map(|set| ["--set", set]));
            succeed(command.arg("--quiet"));
        };
        run(&whole, "run.checkpoint_every=6");
        run(&parts, "run.checkpoint_every=3");
        std::fs::remove_file(parts.join("checkpoints/step-000006.safetensors")).unwrap();
        succeed(fp8lm().args(["train", "--quiet", "--resume"]).arg(&parts));
        assert_same_run(&whole, &parts, 6);
    }
}

#[test]
fn a_comparison_is_resumed_with_its_run() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let args = ["--set", "run.steps=3", "--compare", "bf16", "--quiet"];
    succeed(train(&run).args(args));
    let baseline = run.join("baseline-bf16");
    let before = metrics(&baseline);
    std::fs::remove_dir_all(&baseline).unwrap();
    let output = succeed(fp8lm().args(["train", "--resume"]).arg(&run));
    assert_eq!(metrics(&baseline), before);
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("fp8lm-3 over bf16"), "{summary}");
}

fn start(folder: &Path, checkpoints: &str, ranks: usize) -> Child {
    let mut command = train(folder);
    command.args(["--set", STEPS, "--set", checkpoints, "--ranks", &ranks.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the machine took for each record: never the same twice.
fn timings(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let whole = text.lines().filter(|line| line.ends_with('}'));
    let records = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| record["timing"].clone()).collect()
}

/// Waits until a run has written so many records.
pub(crate) fn wait_for_step(folder: &Path, step: usize) {
    let metrics = folder.join("metrics.jsonl");
    let lines = || std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    wait_until(&format!("step {step}"), || lines() >= step);
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "waited a minute in vain until {what}"
        );
        sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
fn kill(child: &Child, signal: &str) {
    succeed(std::process::Command::new("kill").args([signal, &child.id().to_string()]));
}
