//! Ranks as processes that mpirun starts: the bits of threads, and an end for all however one of them ends.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::tempdir;

use crate::program::{assert_same_run, checkpoint, fp8lm, metrics, stderr, succeed, train};

/// Two by two ranks.
const MESH: [&str; 4] = ["--set", "parallel.data=2", "--set", "parallel.tensor=2"];
/// Enough that a run is not over before something happens to it.
const LONG: [&str; 4] = ["--set", "run.steps=20000", "--set", "run.checkpoint_every=20000"];

#[test]
fn four_processes_train_to_the_bits_of_four_threads() {
    let folder = tempdir().unwrap();
    let (threads, processes) = (folder.path().join("threads"), folder.path().join("processes"));
    let keys = ["run.steps=3", "run.log_every=1", "run.evaluate_batches_at_end=1"];
    let keys: Vec<_> = keys.into_iter().flat_map(|key| ["--set", key]).collect();
    let quickstart = ["train", "--preset", "quickstart", "--quiet", "--run"];
    succeed(fp8lm().args(quickstart).arg(&threads).args(&keys).args(MESH));
    let mut four = mpirun(4);
    four.args(quickstart).arg(&processes).args(&keys).args(MESH).args(["--link", "mpi"]);
    succeed(&mut four);
    assert_same_run(&threads, &processes, 3);
}

#[test]
fn a_schedule_of_a_pipeline_runs_over_processes_too() {
    let folder = tempdir().unwrap();
    let (threads, processes) = (folder.path().join("threads"), folder.path().join("processes"));
    let keys = ["parallel.pipeline=2", "parallel.schedule=zb-h1", "parallel.zero=1", "run.steps=6"];
    let keys: Vec<_> = keys.into_iter().flat_map(|key| ["--set", key]).collect();
    succeed(train(&threads).args(&keys).arg("--quiet"));
    succeed(tiny(2, &processes).args(&keys));
    assert_same_run(&threads, &processes, 6);
}

#[test]
fn a_signal_to_mpirun_saves_and_the_run_goes_on_to_the_same_bits() {
    let folder = tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let steps = ["--set", "run.steps=60", "--set", "run.checkpoint_every=60"];
    succeed(train(&whole).args(steps).args(MESH).arg("--quiet"));
    let child = start(tiny(4, &stopped).args(steps).args(MESH));
    wait_for_step(&stopped, 3);
    kill("-USR1", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", stderr(&output));
    assert!(stderr(&output).contains("fp8lm train --resume"), "{}", stderr(&output));
    let mut again = mpirun(4);
    succeed(again.args(["train", "--link", "mpi", "--quiet", "--resume"]).arg(&stopped));
    assert_same_run(&whole, &stopped, 60);
}

#[test]
fn a_rank_that_fails_is_named_by_all_others() {
    let folder = tempdir().unwrap();
    succeed(train(folder.path()).args(["--set", "run.steps=1", "--quiet"]));
    // Only the first rank writes, and only it finds the folder in use.
    let output = tiny(4, folder.path()).args(MESH).args(LONG).output().unwrap();
    let sentences = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{sentences}");
    let ours = sentences.lines().filter_map(|line| line.strip_prefix("fp8lm: error: "));
    // mpirun ends those that have not spoken yet, with the first that has: the rank itself, too.
    let reasons: Vec<_> =
        ours.map(|said| said.strip_prefix("rank 0 failed: ").unwrap_or(said)).collect();
    let [reason, others @ ..] = &reasons[..] else { panic!("{sentences}") };
    assert!(reason.contains("in use") || reason.contains("holds"), "{reason}");
    assert!(others.iter().all(|other| other == reason), "{sentences}");
}

#[test]
fn a_rank_that_is_killed_ends_all() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let child = start(tiny(4, &run).args(MESH).args(LONG));
    wait_for_step(&run, 2);
    let started = Instant::now();
    kill("-KILL", ranks_of(&child)[2]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(137), "{}", stderr(&output));
    assert!(stderr(&output).contains("exited on signal 9"), "{}", stderr(&output));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_rank_that_stands_still_is_named_when_time_is_up() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let soon = ["--set", "parallel.timeout_seconds=3"];
    let child = start(tiny(4, &run).args(MESH).args(LONG).args(soon));
    wait_for_step(&run, 2);
    kill("-STOP", ranks_of(&child)[2]);
    let output = child.wait_with_output().unwrap();
    let sentences = stderr(&output);
    assert_eq!(output.status.code(), Some(75), "{sentences}");
    assert!(sentences.contains("waited 3s in vain"), "{sentences}");
    assert!(sentences.contains("and waits for [2]"), "{sentences}");
    assert!(sentences.contains("rank 2 is in no exchange"), "{sentences}");
}

#[test]
fn as_many_processes_as_ranks_are_expected() {
    let folder = tempdir().unwrap();
    let output = tiny(2, &folder.path().join("run")).args(MESH).output().unwrap();
    let sentence = "fp8lm: error: parallel: pipeline 1 x data 2 x tensor 2 are 4 ranks, and the launcher has started 2 \
                    processes; expected one for each";
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).lines().any(|line| line == sentence), "{}", stderr(&output));
}

/// In the deterministic mode even with the bits that all would have come to.
#[test]
fn an_elastic_run_goes_on_with_the_processes_that_are_left() {
    let folder = tempdir().unwrap();
    let (whole, elastic) = (folder.path().join("whole"), folder.path().join("elastic"));
    let keys = [
        "parallel.deterministic=true",
        "parallel.elastic=true",
        "parallel.data=4",
        "data.micro_batches=4",
        "run.steps=60",
        "run.checkpoint_every=5",
    ];
    let keys: Vec<_> = keys.into_iter().flat_map(|key| ["--set", key]).collect();
    succeed(train(&whole).args(&keys).arg("--quiet"));
    let on = |processes| {
        let mut command = tiny(processes, &elastic);
        command.args(&keys).arg("--restart");
        command
    };
    let child = start(&mut on(4));
    wait_for_step(&elastic, 12);
    kill("-KILL", ranks_of(&child)[3]);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(137));
    assert!(metrics(&elastic).len() < 60, "it was over before a rank was killed");
    succeed(&mut on(2));
    let losses = |run: &Path| -> Vec<_> {
        metrics(run).into_iter().map(|record| record["loss"].clone()).collect()
    };
    assert_eq!(losses(&elastic), losses(&whole));
    assert!(checkpoint(&elastic, 60) == checkpoint(&whole, 60), "the last checkpoints differ");
    let config = fs::read_to_string(elastic.join("config.toml")).unwrap();
    assert!(config.contains("\ndata = 2\n"), "{config}");
}

/// So many processes of the program with the preset `tiny`.
fn tiny(processes: usize, run: &Path) -> Command {
    let mut command = mpirun(processes);
    command.args(["train", "--preset", "tiny", "--link", "mpi", "--quiet", "--run"]).arg(run);
    command
}

/// mpirun with so many processes of the program: for root too, on however few cores.
fn mpirun(processes: usize) -> Command {
    let mut command = Command::new("mpirun");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    command.args(["-n", &processes.to_string(), env!("CARGO_BIN_EXE_fp8lm")]);
    command
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The process numbers of the ranks that mpirun has started, in their order.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let children = format!("/proc/{0}/task/{0}/children", mpirun.id());
    let children = fs::read_to_string(children).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn kill(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

fn wait_for_step(run: &Path, step: usize) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let steps =
        || fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
    while steps() < step {
        assert!(Instant::now() < deadline, "the run does not come to step {step}");
        sleep(Duration::from_millis(20));
    }
}
