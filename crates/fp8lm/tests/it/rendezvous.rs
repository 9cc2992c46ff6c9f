//! Processes that meet: those of a job, and those that should not be there.

use std::{
    env,
    io::{self, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::program::{fail, fp8lm, stderr};

/// A job of so many processes at a port of its own.
struct Job {
    world_size: usize,
    port: u16,
    timeout: &'static str,
}

impl Job {
    fn new(world_size: usize, timeout: &'static str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { world_size, port, timeout }
    }

    /// The command of a rank, with the variables of torchrun.
    fn rank(&self, rank: usize) -> Command {
        let mut command = fp8lm();
        command.args(["rendezvous", "--timeout", self.timeout]);
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", self.world_size.to_string());
        command
            .env("LOCAL_RANK", rank.to_string())
            .env("LOCAL_WORLD_SIZE", self.world_size.to_string());
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", self.port.to_string());
        command.env("FP8LM_TOKEN", TOKEN);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, rank: usize) -> Child {
        self.rank(rank).spawn().unwrap()
    }
}

/// How it ended, and in how many seconds from now.
fn end(child: Child) -> (Output, f64) {
    let start = Instant::now();
    let output = child.wait_with_output().unwrap();
    (output, start.elapsed().as_secs_f64())
}

/// The one sentence of a bad end.
fn sentence(output: &Output, code: i32) -> String {
    let sentence = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    sentence.strip_prefix("fp8lm: error: ").unwrap().trim_end().to_owned()
}

#[test]
fn the_first_rank_prints_who_has_come() {
    let job = Job::new(4, "30");
    let children: Vec<_> = (0..4).map(|rank| job.start(rank)).collect();
    let processes: Vec<_> = children.iter().map(Child::id).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| end(child).0).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", stderr(output));
    }
    assert!(outputs[1..].iter().all(|output| output.stdout.is_empty()), "{outputs:?}");
    let table = String::from_utf8(outputs[0].stdout.clone()).unwrap();
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["rank", "host", "process"], "{table}");
    for (rank, process) in processes.into_iter().enumerate() {
        let (number, process) = (rank.to_string(), process.to_string());
        let row = &rows[rank + 1];
        assert_eq!((row[0], row[2], row[3]), (&*number, &*process, &*number), "{table}");
    }
    assert!(table.contains("4 ranks of torchrun met in "), "{table}");
}

#[test]
fn a_rank_that_does_not_come_is_named_by_all() {
    let job = Job::new(3, "4");
    let children = [0, 2].map(|rank| job.start(rank));
    for (output, seconds) in children.map(end) {
        assert_eq!(sentence(&output, 75), "rank 1 of 3 missing at the meeting after 4 s");
        assert!(seconds < 15.0, "{seconds} s");
    }
}

#[test]
fn without_rank_0_nobody_meets() {
    let job = Job::new(2, "1");
    let output = end(job.start(1)).0;
    let expected = format!("rank 0 is missing: no store at 127.0.0.1:{} for 1 s", job.port);
    assert!(sentence(&output, 75).starts_with(&expected), "{}", stderr(&output));
}

#[test]
fn a_wrong_token_ends_its_process_and_no_other() {
    let job = Job::new(2, "30");
    let first = job.start(0);
    let wrong = job.rank(1).env("FP8LM_TOKEN", "another secret, as long").spawn().unwrap();
    let refused = sentence(&end(wrong).0, 1);
    assert!(
        refused.contains("has another token than this process: FP8LM_TOKEN must be the same"),
        "{refused}"
    );
    for output in [job.start(1), first].map(|child| end(child).0) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// Which of the two comes first is the rank; the other learns of it, and so do those who wait for who is missing.
#[test]
fn two_processes_that_claim_one_rank_are_named() {
    let job = Job::new(3, "6");
    let children = [0, 1, 1].map(|rank| job.start(rank));
    let processes = children.each_ref().map(|child| child.id().to_string());
    let outputs = children.map(|child| end(child).0);
    let count = "; connections refused meanwhile: 1 that claimed a wrong rank";
    let missing = format!("rank 2 of 3 missing at the meeting after 6 s{count}");
    assert_eq!(sentence(&outputs[0], 75), missing);
    let refused: Vec<_> =
        outputs[1..].iter().filter(|output| output.status.code() == Some(1)).collect();
    let [refused] = refused[..] else { panic!("one of two is refused: {outputs:?}") };
    let refused = sentence(refused, 1);
    assert!(refused.starts_with("rank 1 is claimed twice: by process "), "{refused}");
    assert!(
        processes[1..].iter().all(|process| refused.contains(process)),
        "{refused} {processes:?}"
    );
}

/// A process that was killed before all had met may be replaced.
#[test]
fn a_rank_may_be_killed_and_come_again_before_the_meeting() {
    let job = Job::new(3, "30");
    let (first, mut killed) = (job.start(0), job.start(1));
    thread::sleep(Duration::from_millis(500));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let again = job.start(1);
    // Rank 0 must have missed the one that is gone before all seem to have come.
    thread::sleep(Duration::from_millis(500));
    for output in [first, again, job.start(2)].map(|child| end(child).0) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn what_a_job_lacks_is_one_sentence() {
    let alone = fail(fp8lm().arg("rendezvous").env_remove("RANK"));
    assert!(alone.contains("no launcher has told this process its rank"), "{alone}");
    let job = Job::new(2, "1");
    let no_token = fail(job.rank(1).env_remove("FP8LM_TOKEN"));
    assert!(
        no_token.contains("no token: give every process the same secret of at least 16"),
        "{no_token}"
    );
    let no_size = fail(job.rank(1).env_remove("WORLD_SIZE"));
    assert!(no_size.contains("the variable WORLD_SIZE is not set, though RANK is"), "{no_size}");
    let beyond = fail(job.rank(2).env("MASTER_PORT", "29500"));
    assert!(
        beyond.contains("RANK is 2: expected less than 2, the value of WORLD_SIZE"),
        "{beyond}"
    );
    let nowhere = fail(job.rank(1).env_remove("MASTER_ADDR"));
    assert!(nowhere.contains("set MASTER_ADDR to its host and MASTER_PORT"), "{nowhere}");
}

/// Started by a real `mpirun`, ranks have its variables.
#[test]
fn ranks_of_mpirun_meet() {
    if Command::new("mpirun").arg("--version").output().is_err() {
        return skip("ranks of mpirun", "there is no mpirun");
    }
    let job = Job::new(3, "30");
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["-n", "3", env!("CARGO_BIN_EXE_fp8lm"), "rendezvous", "--timeout", job.timeout]);
    mpirun
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", job.port.to_string())
        .env("FP8LM_TOKEN", TOKEN);
    // As root, and on as few cores as there are.
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    let output = mpirun.output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", stderr(&output));
    let launcher = ["Open MPI", "PMI"]
        .into_iter()
        .find(|name| table.contains(&format!("3 ranks of {name} met in ")));
    assert!(launcher.is_some(), "{table}");
}

/// The unique id that the real library makes in one process goes through the store to the others, which have the same
/// bytes then: each prints its own hash of them.
#[test]
fn a_unique_id_of_the_real_nccl_goes_round() {
    let Some(folder) = nccl() else { return };
    let job = Job::new(3, "30");
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let start = |rank| job.rank(rank).env("LD_LIBRARY_PATH", &folder).spawn().unwrap();
        let outputs: Vec<_> = [0, 1, 2].map(start).map(|child| end(child).0).into();
        assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
        let table = String::from_utf8(outputs[0].stdout.clone()).unwrap();
        let found: Vec<Vec<_>> =
            table.lines().map(|line| line.split_whitespace().rev().take(2).collect()).collect();
        assert!(found[1][1].starts_with("2."), "{table}");
        assert_eq!(found[1][0].len(), 16, "{table}");
        assert!(found[2] == found[1] && found[3] == found[1], "{table}");
        hashes.push(found[1][0].to_owned());
    }
    assert_ne!(hashes[0], hashes[1], "every job has an id of its own");
}

/// The folder of NCCL's library: of the file that `FP8LM_NCCL` names, or else the system's.
fn nccl() -> Option<PathBuf> {
    let system = || env::var_os("LD_LIBRARY_PATH").map(PathBuf::from).unwrap_or_default();
    let folder = match env::var_os("FP8LM_NCCL") {
        Some(file) => Path::new(&file).parent().unwrap().to_owned(),
        None => system(),
    };
    let found = nccl_rs::Nccl::load().is_ok() || folder.join("libnccl.so.2").exists();
    if !found {
        skip("the unique id of the real NCCL", "there is no NCCL library: FP8LM_NCCL may name one");
    }
    found.then_some(folder)
}

/// Counts and prints, past the harness, that something cannot be tested here.
fn skip(what: &str, why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    writeln!(io::stderr(), "skipped so far: {count}; {what}: {why}").expect("stderr is open");
}

const TOKEN: &str = "a secret of this test's job";
