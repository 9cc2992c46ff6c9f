//! `--link nccl`: processes with a GPU each, on libraries that stand in for NVIDIA's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    program::{assert_same_run, fail, fp8lm, stderr, succeed, train},
    stand_ins,
};

/// Where the stand-ins are; none without a C++ compiler.
#[expect(clippy::print_stdout, reason = "a skip is to be seen")]
fn stand_ins() -> Option<PathBuf> {
    static BUILT: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let sources = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/gpu"));
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.join("stand-ins-of-the-program");
    let target = tmp.parent().unwrap();
    let is_there = *BUILT.get_or_init(|| stand_ins::build(sources, &folder, target).unwrap());
    if !is_there {
        println!("skipped: there is no C++ compiler");
    }
    is_there.then_some(folder)
}

/// Processes of a run, which `fp8lm spawn` starts and starts again.
struct Job {
    folder: TempDir,
    command: Command,
}

impl Job {
    fn new(stand_ins: &Path, restarts: u32, sets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = fp8lm();
        command.args(["spawn", "--processes", "2", "--max-restarts", &restarts.to_string()]);
        command.args(["--grace", "5", "--logs"]).arg(folder.path().join("logs")).arg("--");
        command.arg(env!("CARGO_BIN_EXE_fp8lm"));
        command.args(["train", "--preset", "tiny", "--restart", "--quiet", "--run"]);
        command.arg(folder.path().join("run")).args(["--link", "nccl", "--device", "cuda"]);
        command.arg("--cuda-libraries").arg(stand_ins.join("lib"));
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        let meetings = folder.path().join("meetings");
        fs::create_dir(&meetings).unwrap();
        command.env("LD_LIBRARY_PATH", stand_ins.join("driver"));
        command.env("STANDIN_GPUS", "2").env("STANDIN_NCCL", meetings);
        Self { folder, command }
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Sends a signal to rank 1 once it has trained for some steps, and waits for the end of all.
    fn disturb(&mut self, signal: &str) -> Output {
        let pipe = std::process::Stdio::piped;
        let child = self.command.stdout(pipe()).stderr(pipe()).spawn().unwrap();
        let metrics = self.run().join("metrics.jsonl");
        let begun = Instant::now();
        while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not train");
            thread::sleep(Duration::from_millis(5));
        }
        let process = rank_1(&self.run()).to_string();
        succeed(Command::new("kill").args([signal, &process]));
        child.wait_with_output().unwrap()
    }
}

/// The process of a run that is rank 1.
fn rank_1(run: &Path) -> u32 {
    let has = |process: &Path, file: &str, words: &str| {
        let text = fs::read(process.join(file)).unwrap_or_default();
        text.split(|byte| *byte == 0).any(|part| part == words.as_bytes())
    };
    let run = run.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found = processes
        .filter(|process| has(process, "cmdline", &run) && has(process, "environ", "RANK=1"));
    found.next().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn processes_over_nccl_have_the_bits_of_threads() {
    let Some(stand_ins) = stand_ins() else { return };
    let mut job = Job::new(&stand_ins, 0, &["parallel.data=2", F32, "run.steps=4"]);
    succeed(&mut job.command);
    let folder = tempfile::tempdir().unwrap();
    let threads = folder.path().join("threads");
    succeed(train(&threads).args(["--ranks", "2", "--set", F32, "--set", "run.steps=4"]));
    assert_same_run(&job.run(), &threads, 4);
}

#[test]
fn a_rank_that_is_killed_is_named_and_all_start_again() {
    let Some(stand_ins) = stand_ins() else { return };
    let sets = ["parallel.data=2", F32, "run.steps=16", "run.checkpoint_every=2", LOG_ALL];
    let mut job = Job::new(&stand_ins, 1, &sets);
    let output = job.disturb("-KILL");
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    // The store misses the process, or NCCL does.
    let is_missed = ["rank 1 is gone: process", "remote process exited"].iter();
    assert!(is_missed.clone().any(|words| told.contains(words)), "{told}");
    assert!(told.contains("fp8lm: error: rank 0 in "), "{told}");
    assert!(told.contains("rank 1 was ended by signal 9"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    let threads = folder.path().join("threads");
    let mut undisturbed = train(&threads);
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    succeed(undisturbed.args(sets));
    let last = |run: &Path| crate::program::checkpoint(run, 16);
    assert!(last(&job.run()) == last(&threads), "the last checkpoint has other bytes");
}

/// It is alive, and does nothing: the watchdog of the other ends the run with the code that says to start it again.
#[test]
fn a_rank_that_hangs_is_named_by_the_other() {
    let Some(stand_ins) = stand_ins() else { return };
    let sets = ["parallel.data=2", F32, "run.steps=400", "parallel.timeout_seconds=3", LOG_ALL];
    let mut job = Job::new(&stand_ins, 0, &sets);
    job.command.args(["--set", "run.checkpoint_every=400"]);
    let output = job.disturb("-STOP");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("fp8lm: error: rank 0 waited 3."), "{told}");
    assert!(told.contains("and waits for [1]"), "{told}");
}

#[test]
fn what_it_needs_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let new = || {
        let mut command = train(&folder.path().join("run"));
        command.args(["--link", "nccl"]);
        command
    };
    let told = fail(&mut new());
    assert!(told.contains("--link nccl: expected --device cuda"), "{told}");
    let told = fail(new().args(["--device", "cuda"]));
    assert!(told.contains("no launcher has told this process its rank"), "{told}");
    let told = fail(new().args(["--device", "cuda"]).env("RANK", "0").env("WORLD_SIZE", "3"));
    assert!(told.contains("1 ranks, and the launcher has started 3 processes"), "{told}");
    let mut shared = new();
    shared.args(["--device", "cuda:0", "--ranks", "2"]).env("RANK", "0").env("WORLD_SIZE", "2");
    let told = fail(shared.env("LOCAL_RANK", "0").env("LOCAL_WORLD_SIZE", "2"));
    assert!(
        told.contains("expected cuda, the GPU of its number for each of 2 processes"),
        "{told}"
    );
}

/// The other would wait for five minutes, and then ask to be started again.
#[test]
fn a_rank_that_fails_tells_the_others_why() {
    let Some(stand_ins) = stand_ins() else { return };
    let mut job = Job::new(&stand_ins, 0, &["parallel.data=2", F32, "run.steps=2"]);
    // A folder where rank 0, which alone writes, finds a file in the place of one.
    fs::create_dir_all(job.run()).unwrap();
    fs::write(job.run().join("checkpoints"), "").unwrap();
    let begun = Instant::now();
    let output = job.command.output().unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(100), "it ends in time: {told}");
    let log = |rank: u32| {
        let path = job.folder.path().join(format!("logs/rank-{rank}.log"));
        fs::read_to_string(path).unwrap()
    };
    assert!(
        log(0).contains("checkpoints") && log(1).contains("checkpoints"),
        "{}{}",
        log(0),
        log(1)
    );
}

/// Sums on a CPU and on a stand-in have one order.
const F32: &str = "recipe.accumulate=f32";
const LOG_ALL: &str = "run.log_every=1";
