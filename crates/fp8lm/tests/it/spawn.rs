//! `fp8lm spawn`: processes started, watched and started again.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::program::{assert_same_run, fp8lm, stderr, succeed, train};

/// A job whose processes are a shell script, with our program as its `$1`, and with its logs in a folder of its own.
struct Job {
    folder: TempDir,
    command: Command,
}

impl Job {
    fn new(options: &[&str], script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = fp8lm();
        command.arg("spawn").args(options).arg("--logs").arg(folder.path().join("logs"));
        command.args(["--", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_fp8lm")]);
        command.current_dir(folder.path());
        Self { folder, command }
    }

    fn output(&mut self) -> Output {
        self.command.output().unwrap()
    }

    /// Starts the job, and waits until this many ranks have written a line to their logs.
    fn start(&mut self, ranks: u32) -> Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap();
        let is_there =
            |rank| fs::read_to_string(self.log(rank)).is_ok_and(|log| log.contains('\n'));
        wait_until("ranks write their logs", || (0..ranks).all(is_there));
        child
    }

    fn log(&self, rank: u32) -> PathBuf {
        self.folder.path().join(format!("logs/rank-{rank}.log"))
    }

    fn read(&self, rank: u32) -> String {
        fs::read_to_string(self.log(rank)).unwrap()
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
}

/// Whether no process has the number, or one that has ended.
fn is_gone(pid: &str) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    status.map_or(true, |status| status.contains("State:\tZ"))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn ranks_are_told_their_place_and_the_first_has_the_terminal() {
    let script = "echo $RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK/$GROUP_WORLD_SIZE \
                  $MASTER_ADDR $TORCHELASTIC_RESTART_COUNT; echo warning $RANK >&2; \
                  [ $MASTER_PORT -gt 0 ] || exit 1";
    let mut job = Job::new(&["--processes", "3"], script);
    let output = job.output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "0/3 0/3 0/1 127.0.0.1 0\n");
    assert_eq!(stderr(&output), "warning 0\n");
    assert_eq!(job.read(2), "2/3 2/3 0/1 127.0.0.1 0\nwarning 2\n");
    let mut first: Vec<_> = job.read(0).lines().map(str::to_owned).collect();
    first.sort();
    assert_eq!(first, ["0/3 0/3 0/1 127.0.0.1 0", "warning 0"]);

    let options =
        ["--processes", "2", "--nodes", "3", "--node-rank", "1", "--master", "[::1]:29501"];
    let mut job = Job::new(&options, &script.replace("$MASTER_ADDR", "$MASTER_ADDR $MASTER_PORT"));
    let output = job.output();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), ""));
    assert_eq!(job.read(2), "2/6 0/2 1/3 ::1 29501 0\nwarning 2\n");
    assert_eq!(job.read(3), "3/6 1/2 1/3 ::1 29501 0\nwarning 3\n");
}

#[test]
fn one_nodes_processes_share_a_secret_that_nobody_has_set() {
    let script = "echo \"$FP8LM_TOKEN\"";
    let secret = |options: &[&str], set: Option<&str>| {
        let mut job = Job::new(&[&["--processes", "2"], options].concat(), script);
        job.command.env_remove("FP8LM_TOKEN");
        job.command.envs(set.map(|token| ("FP8LM_TOKEN", token)));
        assert!(job.output().status.success());
        (job.read(1), job.read(0))
    };
    let (one, other) = (secret(&[], None), secret(&[], None));
    assert!(one.0 == one.1 && one.1.trim().len() == 64 && one != other, "{one:?}");
    assert_eq!(secret(&[], Some("as it was set")).1, "as it was set\n");
    assert_eq!(secret(&[], Some("")).1.trim().len(), 64, "an empty one counts as none");
    assert_eq!(secret(&["--nodes", "2", "--master", "n1:1"], None).1, "\n");
}

#[test]
fn all_that_the_first_rank_writes_comes_through_in_order() {
    let script = "seq 1 20000; printf 'no line end'; seq 1 3 >&2";
    let mut job = Job::new(&["--processes", "1"], script);
    let output = job.output();
    let expected = (1..=20000).map(|line| format!("{line}\n")).collect::<String>() + "no line end";
    assert!(stdout(&output) == expected, "{} bytes of output", output.stdout.len());
    assert_eq!(stderr(&output), "1\n2\n3\n");
    assert_eq!(job.read(0).len(), output.stdout.len() + output.stderr.len());
}

#[test]
fn who_asks_for_it_is_started_again_and_the_count_grows() {
    let script = "echo start $TORCHELASTIC_RESTART_COUNT; [ $RANK = 0 ] && exec sleep 100; \
                  [ $TORCHELASTIC_RESTART_COUNT = 2 ] && exit 3; exit 75";
    let begin = Instant::now();
    let mut job = Job::new(&["--processes", "2", "--max-restarts", "5"], script);
    let output = job.output();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(begin.elapsed() < Duration::from_secs(20), "rank 0 was waited for");
    let log = "start 0\n--- restart 1 ---\nstart 1\n--- restart 2 ---\nstart 2\n";
    assert_eq!(job.read(1), log);
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    let again = "fp8lm spawn: rank 1 asks to be started again; starting again,";
    assert_eq!(lines[..2], [format!("{again} 1 of 5"), format!("{again} 2 of 5")]);
    let end = "fp8lm spawn: rank 1 ended with exit code 3; ";
    assert!(lines[2].starts_with(end) && lines[2].ends_with("rank-1.log ends with:"), "{text}");
    assert_eq!((lines.last(), lines.len()), (Some(&"  start 2"), 8), "{text}");
}

#[test]
fn restarts_are_bounded_and_whoever_started_this_is_asked_to_go_on() {
    let mut job = Job::new(&["--max-restarts", "2"], "exit 75");
    let output = job.output();
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(75), 3));
    let mut job = Job::new(&["--max-restarts", "9"], "exit 1");
    let output = job.output();
    assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(1), 1));
}

#[test]
fn a_killed_rank_ends_the_others_and_all_start_again() {
    let script = "echo $$; [ $TORCHELASTIC_RESTART_COUNT = 1 ] && exit 0; \
                  [ $RANK = 1 ] && kill -9 $$; sleep 100";
    let mut job = Job::new(&["--processes", "3", "--max-restarts", "1"], script);
    let output = job.output();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(text, "fp8lm spawn: rank 1 was ended by signal 9; starting again, 1 of 1\n");
}

#[test]
fn who_does_not_end_is_killed_with_all_that_it_has_started() {
    let script =
        "trap '' TERM; [ $RANK = 1 ] && { sleep 0.2; exit 1; }; sleep 1000 & echo $$ $!; wait";
    let mut job = Job::new(&["--processes", "2", "--grace", "1"], script);
    let begin = Instant::now();
    let output = job.output();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(begin.elapsed() >= Duration::from_secs(1), "it has a second to end");
    let log = job.read(0);
    let pids: Vec<_> = log.split_whitespace().collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_gone(pid)), "{pids:?}");
}

#[test]
fn signals_are_handed_on_and_a_stop_is_no_reason_to_start_again() {
    let signals = [("-TERM", "TERM", 143), ("-INT", "INT", 130), ("-USR1", "USR1", 75)];
    // Whoever runs this test may have it ignore that a terminal goes.
    let hangup = (!is_hangup_ignored()).then_some(("-HUP", "TERM", 143));
    for (signal, name, code) in signals.into_iter().chain(hangup) {
        let script = format!("trap 'echo saved; exit {code}' {name}; echo up; sleep 100 & wait");
        let mut job = Job::new(&["--processes", "2", "--max-restarts", "3"], &script);
        let child = job.start(2);
        kill(signal, child.id());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", stderr(&output));
        assert_eq!((job.read(0), job.read(1)), ("up\nsaved\n".into(), "up\nsaved\n".into()));
    }
}

/// As this process was told by whoever started it, and tells those that it starts.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1))
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_goes_ends_nothing_under_nohup() {
    let mut job = Job::new(&["--processes", "1"], "trap 'exit 9' TERM HUP; echo up; sleep 0.5");
    let mut nohup = Command::new("nohup");
    nohup
        .arg(job.command.get_program())
        .args(job.command.get_args())
        .current_dir(job.folder.path());
    job.command = nohup;
    let child = job.start(1);
    kill("-HUP", child.id());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn who_saves_longer_than_others_after_a_stop_is_waited_for() {
    let script = "trap 'sleep 1.5; echo saved; exit 143' TERM; [ $RANK = 1 ] && trap 'exit 143' TERM; \
                  echo up; sleep 100 & wait";
    let mut job = Job::new(&["--processes", "2", "--grace", "0"], script);
    let child = job.start(2);
    kill("-TERM", child.id());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    assert_eq!(job.read(0), "up\nsaved\n");
}

#[test]
fn mpirun_starts_ranks_itself_and_lets_them_save() {
    let script = "trap 'echo saved; exit 75' USR1; trap 'exit 9' TERM INT; \
                  echo \"${RANK-none} ${WORLD_SIZE-none}\"; \
                  [ -e again ] || { touch again; exit 137; }; sleep 100 & wait";
    let mut job = Job::new(&["--mpirun", "--max-restarts", "3"], script);
    let log = job.folder.path().join("logs/mpirun.log");
    job.command.env_remove("RANK").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = job.command.spawn().unwrap();
    let again = "none none\n--- restart 1 ---\nnone none\n";
    wait_until("it starts again", || fs::read_to_string(&log).is_ok_and(|log| log == again));
    kill("-TERM", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(143), "none none\nnone none\nsaved\n")
    );
    let expected = "fp8lm spawn: mpirun ended with exit code 137; starting again, 1 of 3\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn ranks_of_one_node_meet() {
    let mut job = Job::new(&["--processes", "3"], "exec \"$1\" rendezvous --timeout 20");
    let output = job.output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(ranks(stdout(&output)), ["0", "1", "2"], "{}", stdout(&output));
}

#[test]
fn nodes_meet_again_after_one_has_lost_a_rank() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let master = format!("127.0.0.1:{}", free.port());
    let script = "[ $RANK = 3 ] && [ $TORCHELASTIC_RESTART_COUNT = 0 ] && { sleep 0.3; kill -9 $$; }; \
                  exec \"$1\" rendezvous --timeout 20";
    let node = |rank| {
        let options =
            ["--processes", "2", "--nodes", "2", "--node-rank", rank, "--master", &master];
        let mut job = Job::new(&[&options[..], &["--max-restarts", "5"]].concat(), script);
        job.command.env("FP8LM_TOKEN", "a secret of the job").stdout(Stdio::piped());
        let child = job.command.stderr(Stdio::piped()).spawn().unwrap();
        (job, child)
    };
    let nodes = ["0", "1"].map(node);
    let outputs = nodes.map(|(_job, child)| child.wait_with_output().unwrap());
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    }
    assert_eq!(ranks(stdout(&outputs[0])), ["0", "1", "2", "3"], "{}", stdout(&outputs[0]));
    let lost = "fp8lm spawn: rank 3 was ended by signal 9; starting again, 1 of 5\n";
    assert!(stderr(&outputs[1]).starts_with(lost), "{}", stderr(&outputs[1]));
}

/// Those that have a row in the table of who has met.
fn ranks(table: &str) -> Vec<&str> {
    let rows = table.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let rows = rows.filter(|row| !row.contains("met in"));
    rows.filter_map(|row| row.split_whitespace().next()).collect()
}

#[test]
fn a_run_that_is_killed_and_started_again_has_the_bits_of_one_that_is_not() {
    // One thread, which waits for no other where cores are few.
    let options = "--set run.steps=60 --set run.checkpoint_every=4 --set run.threads=1 --quiet";
    let script = format!("echo $$; exec \"$1\" train --preset tiny --run torn --restart {options}");
    let mut job = Job::new(&["--max-restarts", "1"], &script);
    let whole = job.folder.path().join("whole");
    succeed(train(&whole).args(options.split(' ')));
    let torn = job.folder.path().join("torn");
    let child = job.start(1);
    let metrics = || fs::read_to_string(torn.join("metrics.jsonl")).unwrap_or_default();
    wait_until("it comes to step 6", || metrics().lines().count() >= 6);
    kill("-KILL", job.read(0).lines().next().unwrap().parse().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lost = "fp8lm spawn: rank 0 was ended by signal 9; starting again, 1 of 1\n";
    assert!(stderr(&output).contains(lost), "{}", stderr(&output));
    assert_same_run(&whole, &torn, 60);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_outlives_a_spawn_that_is_killed() {
    let mut job = Job::new(&["--processes", "2"], "echo $$; exec sleep 1000");
    let mut child = job.start(2);
    kill("-KILL", child.id());
    child.wait().unwrap();
    wait_until("ranks end", || (0..2).all(|rank| is_gone(job.read(rank).trim())));
}

#[test]
fn what_cannot_be_started_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        let output = fp8lm().arg("spawn").args(args).current_dir(folder.path()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, text) = refused(&["--processes", "2", "--", "no/such program"]);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.starts_with("fp8lm: error: cannot run no/such program: "), "{text}");
    let (code, text) = refused(&["--nodes", "2", "--", "true"]);
    let expected = "fp8lm: error: --nodes 2: expected --master HOST:PORT, of the first of them\n";
    assert_eq!((code, text.as_str()), (Some(1), expected));
    let (code, text) = refused(&["--node-rank", "1", "--", "true"]);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    for args in [&["--processes", "0", "--", "true"][..], &[], &["--master", "n1", "--", "true"]] {
        assert_eq!(refused(args).0, Some(2), "{args:?}");
    }
}
