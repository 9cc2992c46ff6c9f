//! A Slurm of this machine alone, and the jobs that it is handed.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// What running a Slurm lacks here.
pub(super) fn missing() -> Option<&'static str> {
    let is_there = |program| {
        cargo::is_available(Command::new("sh").args(["-c", "command -v \"$0\"", program]))
    };
    if !PROGRAMS.iter().all(|program| is_there(program)) {
        return Some("there is no Slurm with munge");
    }
    let namespaces = ["--mount", "--pid", "--fork", "--mount-proc", "true"];
    let has_namespaces = cargo::is_available(Command::new("unshare").args(namespaces));
    (!has_namespaces).then_some("this user may not make namespaces, as root may")
}

/// A Slurm that runs until this is dropped.
pub(super) struct Cluster {
    script: Child,
    /// Slurm's and the jobs' files, which end with it.
    folder: PathBuf,
}

/// A job under way.
pub(super) struct Submitted<'a> {
    pub(super) cluster: &'a Cluster,
    /// The run folder, by whose name Slurm knows the job, too.
    pub(super) run: PathBuf,
    launch: Child,
}

impl Cluster {
    /// Starts it. Its own command ends as soon as nobody holds the other end of its standard input any more.
    pub(super) fn start() -> Result<Self> {
        let mut script = Command::new(cargo::root().join("tests/slurm/single-node"));
        script.args(["sh", "-c", "dirname \"$SLURM_CONF\" && exec cat"]);
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut folder = String::new();
        let output = script.stdout.take().context("a pipe was asked for")?;
        BufReader::new(output).read_line(&mut folder)?;
        let cluster = Self { script, folder: folder.trim_end().into() };
        ensure!(cluster.folder.is_dir(), "Slurm did not start");
        Ok(cluster)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Submits a job as users do, with a program that is there already, and does not wait for it.
    pub(super) fn submit(
        &self,
        program: &Path,
        run: &Path,
        options: &[&str],
    ) -> Result<Submitted<'_>> {
        // By its path, for tests that were built before this one may have put another file in this program's place.
        let mut launch = self.command(cargo::target()?.join("debug/xtask"));
        launch.args(["launch", "slurm", "quickstart", "--wait"]);
        launch.arg("--program").arg(program).arg("--run").arg(run).args(options);
        let launch = launch.stdin(Stdio::null()).spawn()?;
        Ok(Submitted { cluster: self, run: run.to_owned(), launch })
    }

    /// A command that talks to this Slurm.
    pub(super) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env("SLURM_CONF", self.folder.join("slurm.conf"));
        // What jobs leave behind there ends with the cluster.
        command.env("TMPDIR", self.folder.join("tmp"));
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        // How it ends says nothing of the jobs.
        let _ = self.script.wait();
    }
}

impl Submitted<'_> {
    /// Waits for the end, which must be a good one.
    pub(super) fn end(mut self) -> Result<PathBuf> {
        ensure!(self.launch.wait()?.success(), "the job failed: {}", self.run.display());
        Ok(self.run)
    }

    /// Does something to the job, then waits for its end.
    pub(super) fn disturbed(
        mut self,
        disturb: impl FnOnce(&Submitted<'_>) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Err(error) = disturb(&self) {
            self.launch.kill()?;
            self.launch.wait()?;
            return Err(error);
        }
        self.end()
    }

    /// What the job of a run writes.
    pub(super) fn log(run: &Path) -> PathBuf {
        let mut folder = run.as_os_str().to_owned();
        folder.push(".logs");
        Path::new(&folder).join("job.log")
    }
}

/// Not all of which tell their version where no Slurm runs.
const PROGRAMS: &[&str] = &["slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol"];
