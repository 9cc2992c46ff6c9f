//! The same command again and again comes to the end of its run, whatever it was stopped by, and to the same bits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use fp8lm_trainer::run::{RunFolder, checkpoint};
use tempfile::tempdir;

use crate::{
    program::{assert_same_run, checkpoint as bytes, fail, metrics, stderr, succeed, train},
    resume::{wait_for_step, wait_until},
};

/// The command, with settings.
fn restart(folder: &Path, sets: &[&str]) -> Command {
    let mut command = train(folder);
    command.arg("--restart").args(sets.iter().flat_map(|set| ["--set", set]));
    command
}

/// What the command prints on the error stream when it comes to a good end.
fn told(folder: &Path, sets: &[&str]) -> String {
    stderr(&succeed(&mut restart(folder, sets)))
}

fn saved(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("checkpoints/step-{step:06}.safetensors"))
}

#[test]
fn a_killed_run_and_its_baseline_come_to_the_same_bits() {
    let folder = tempdir().unwrap();
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    let sets = ["run.steps=60", "run.compare=bf16", "run.checkpoint_every=4"];
    succeed(&mut restart(&whole, &sets));
    for (part, step) in [("", 6), ("baseline-bf16", 9)] {
        let mut child = restart(&torn, &sets).stderr(Stdio::null()).spawn().unwrap();
        wait_for_step(&torn.join(part), step);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(metrics(&torn.join("baseline-bf16")).len() < 60, "it was over before it was killed");
    succeed(&mut restart(&torn, &sets));
    for part in ["", "baseline-bf16"] {
        assert_same_run(&whole.join(part), &torn.join(part), 60);
    }
}

/// What stands in the folder at any moment is whole, and there is always something to go on from.
#[test]
fn kills_at_any_moment_leave_a_good_checkpoint() {
    let folder = tempdir().unwrap();
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    let sets =
        ["run.steps=30", "run.checkpoint_every=1", "run.keep_checkpoints=1", "parallel.data=2"];
    succeed(&mut restart(&whole, &sets));
    let (mut kills, mut before) = (0, None);
    loop {
        let mut child = restart(&torn, &sets).arg("--quiet").spawn().unwrap();
        // Every second one comes so far that another checkpoint is there.
        let is_over = || child.try_wait().unwrap().is_some() || newest(&torn) > before;
        if kills % 2 == 1 {
            wait_until("another checkpoint", is_over);
        }
        sleep(Duration::from_micros(kills * 7_919 % 40_000));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        for path in checkpoints(&torn).values() {
            checkpoint::load(path).unwrap();
        }
        assert!(newest(&torn) >= before, "{:?} is left of {before:?}", newest(&torn));
        before = newest(&torn);
    }
    assert!(kills > 3, "the run was over after {kills} kills");
    assert_same_run(&whole, &torn, 30);
}

fn checkpoints(run: &Path) -> BTreeMap<u64, PathBuf> {
    checkpoint::list(&run.join("checkpoints")).unwrap_or_default()
}

fn newest(run: &Path) -> Option<u64> {
    checkpoints(run).into_keys().max()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_of_and_the_run_goes_on_when_there_is_room() {
    let folder = tempdir().unwrap();
    let (whole, full) = (folder.path().join("whole"), folder.path().join("full"));
    let sets = ["run.steps=60", "run.checkpoint_every=4"];
    told(&whole, &sets);
    fs::create_dir_all(full.join("checkpoints")).unwrap();
    let temporary = full.join("checkpoints/step-000004.safetensors.tmp");
    std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
    let sentence = fail(restart(&full, &sets).arg("--quiet"));
    assert!(sentence.contains("step-000004.safetensors: No space left"), "{sentence}");
    assert!(metrics(&full).len() < 60, "it does not train to the end for nothing");
    told(&full, &sets);
    assert_same_run(&whole, &full, 60);
}

#[test]
fn a_finished_run_says_so_and_stays_as_it_is() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let sets = ["run.steps=3"];
    assert!(!told(&run, &sets).contains("has all"));
    let before = (metrics(&run), bytes(&run, 3));
    let again = told(&run, &sets);
    assert!(again.contains(&format!("{} has all of its 3 steps", run.display())), "{again}");
    assert_eq!((metrics(&run), bytes(&run, 3)), before);
}

/// They are set aside, so that keeping the newest one does not keep one of them.
#[test]
fn damaged_checkpoints_are_named_and_gone_behind() {
    let folder = tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    let sets = |keep| ["run.steps=8", "run.checkpoint_every=2", keep];
    let keep = sets("run.keep_checkpoints=3");
    told(&whole, &keep);
    told(&damaged, &keep);
    let torn = bytes(&damaged, 8);
    fs::write(saved(&damaged, 8), &torn[..torn.len() / 2]).unwrap();
    let mut flipped = bytes(&damaged, 6);
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(saved(&damaged, 6), &flipped).unwrap();
    let warnings = told(&damaged, &keep);
    let warnings: Vec<_> =
        warnings.lines().filter(|line| line.starts_with("fp8lm: warning: ")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for (warning, [step, what]) in
        warnings.iter().zip([["8", "is truncated: "], ["6", "does not match its checksum"]])
    {
        let name = format!("checkpoint {}", saved(&damaged, step.parse().unwrap()).display());
        assert!(warning.contains(&name) && warning.contains(what), "{warning}");
    }
    assert_same_run(&whole, &damaged, 8);
    let aside = damaged.join("checkpoints/step-000006.safetensors.damaged");
    assert_eq!(fs::read(aside).unwrap(), flipped, "what is damaged is left as evidence");
}

#[test]
fn without_a_whole_checkpoint_a_run_begins_again() {
    let folder = tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    let sets = ["run.steps=4", "run.keep_checkpoints=1"];
    told(&whole, &sets);
    told(&damaged, &sets);
    fs::write(saved(&damaged, 4), "").unwrap();
    assert!(told(&damaged, &sets).contains("step-000004.safetensors is truncated"));
    assert_same_run(&whole, &damaged, 4);
}

#[test]
fn a_restart_changes_nothing() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    told(&run, &["run.steps=2"]);
    let sentence = fail(&mut restart(&run, &["run.steps=3"]));
    assert!(sentence.contains("run.steps = 2, and is started again with 3"), "{sentence}");
    assert!(sentence.contains(&run.display().to_string()), "{sentence}");
    // Threads are the machine's.
    told(&run, &["run.steps=2", "run.threads=1"]);
}

/// In the deterministic mode even the bits are those of a run that was left alone.
#[test]
fn ranks_may_change_where_a_run_is_elastic() {
    let folder = tempdir().unwrap();
    let (whole, elastic) = (folder.path().join("whole"), folder.path().join("elastic"));
    let sets = [
        "parallel.deterministic=true",
        "data.micro_batches=4",
        "run.steps=40",
        "run.checkpoint_every=3",
    ];
    let on = |ranks: &str, is_elastic: &str| {
        let mut command = restart(&elastic, &sets);
        command.args(["--ranks", ranks, "--set", is_elastic, "--quiet"]);
        command
    };
    told(&whole, &sets);
    let mut child = on("4", "parallel.elastic=false").spawn().unwrap();
    wait_for_step(&elastic, 7);
    child.kill().unwrap();
    child.wait().unwrap();
    let sentence = fail(&mut on("2", "parallel.elastic=false"));
    assert!(sentence.contains("on 4 data-parallel ranks and is started again on 2"), "{sentence}");
    assert!(sentence.contains("parallel.elastic = true"), "{sentence}");
    let before = metrics(&elastic).len();
    assert!(before < 40, "it was over before it was killed");
    succeed(&mut on("2", "parallel.elastic=true"));
    let losses = |run: &Path| -> Vec<_> {
        metrics(run).into_iter().map(|record| record["loss"].clone()).collect()
    };
    assert_eq!(losses(&elastic), losses(&whole));
    assert!(bytes(&elastic, 40) == bytes(&whole, 40), "the last checkpoints differ");
}

/// Whoever starts the run again does so once more, for the other process is about to end.
#[test]
fn a_folder_that_is_still_in_use_is_worth_another_start() {
    let folder = tempdir().unwrap();
    let sets = ["run.steps=2", "parallel.data=2", "parallel.timeout_seconds=1"];
    told(folder.path(), &sets);
    let other = RunFolder::resume(folder.path()).unwrap();
    let output = restart(folder.path(), &sets).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("in use by another process for 500ms"), "{}", stderr(&output));
    drop(other);
    told(folder.path(), &sets);
}

#[test]
fn a_restart_needs_a_folder() {
    let output = crate::program::fp8lm().args(["train", "--restart"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--run <DIR>"), "{}", stderr(&output));
}
