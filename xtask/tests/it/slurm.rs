//! The sbatch file, run with shell scripts in place of the program and of Slurm's commands: when it requeues the job.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// How the program ends, and what Slurm says meanwhile.
struct Case {
    program: &'static str,
    srun: &'static str,
    state: &'static str,
    restarts: Option<u32>,
}

/// A job that is requeued once at most; the program ends so.
fn case(program: &'static str) -> Case {
    Case { program, srun: STARTS_A_RANK, state: "RUNNING", restarts: None }
}

impl Case {
    fn run(&self) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let plan = r#"[ "$1" != plan ] || { echo "[parallel]"; exit; }"#;
        script(folder.path(), "fp8lm", &format!("{plan}\n{}", self.program));
        script(folder.path(), "srun", self.srun);
        script(folder.path(), "squeue", &format!("echo {}", self.state));
        script(folder.path(), "scontrol", r#"[ "$1" = show ] && echo n1 || echo "$*""#);
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash");
        bash.arg(sbatch_file(&folder)).env("SLURM_JOB_ID", "7").env("SLURM_JOB_NODELIST", "n1");
        bash.env("PATH", format!("{}:{path}", folder.path().display()));
        bash.env_remove("SLURM_RESTART_COUNT");
        bash.envs(self.restarts.map(|count| ("SLURM_RESTART_COUNT", count.to_string())));
        bash.output().unwrap()
    }

    #[track_caller]
    fn expect_requeue(&self, code: i32) {
        let output = self.run();
        let expected = format!("exit code {code}: requeued, restart 1 of 1\nrequeue 7\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
        assert!(output.status.success(), "{output:?}");
    }

    #[track_caller]
    fn expect_end(&self, code: i32) {
        let output = self.run();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{output:?}");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What `launch` would submit.
fn sbatch_file(folder: &TempDir) -> PathBuf {
    let mut launch = Command::new(env!("CARGO_BIN_EXE_xtask"));
    launch.args(["launch", "slurm", "tiny", "--dry-run", "--max-restarts", "1"]);
    launch.arg("--program").arg(folder.path().join("fp8lm"));
    let output = launch.arg("--run").arg(folder.path().join("run")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::create_dir(folder.path().join("run.logs")).unwrap();
    let file = folder.path().join("job.sbatch");
    fs::write(&file, output.stdout).unwrap();
    file
}

#[test]
fn what_starting_again_may_help_is_requeued() {
    case("exit 75").expect_requeue(75);
    case("kill -KILL $$").expect_requeue(137);
    case("kill -USR1 $$").expect_requeue(138);
    case("exit 143").expect_requeue(143);
}

#[test]
fn what_has_ended_for_good_is_not() {
    case("exit 0").expect_end(0);
    case("exit 1").expect_end(1);
    case("exit 2").expect_end(2);
    case("exit 130").expect_end(130);
}

#[test]
fn a_step_that_was_not_launched_is_no_success() {
    Case { srun: "exit 0", ..case("exit 0") }.expect_requeue(75);
    Case { srun: "exit 0", restarts: Some(1), ..case("exit 0") }.expect_end(75);
}

#[test]
fn restarts_have_an_end_and_cancelled_jobs_stay_so() {
    Case { restarts: Some(0), ..case("exit 75") }.expect_requeue(75);
    Case { restarts: Some(1), ..case("exit 75") }.expect_end(75);
    Case { state: "COMPLETING", ..case("exit 75") }.expect_end(75);
    Case { state: "", ..case("exit 137") }.expect_end(137);
}

/// `srun` with the first rank alone, whose command follows two options.
const STARTS_A_RANK: &str = r#"shift 2; SLURM_PROCID=0 exec "$@""#;
