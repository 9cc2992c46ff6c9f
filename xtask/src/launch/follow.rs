//! A job of Slurm from its submission to its end.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{job::Job, slurm};
use crate::cargo;

/// Submits the sbatch file. With `wait` shows the first rank's output until the job ends. Whether all went well.
pub(super) fn submit(job: &Job, file: &Path, wait: bool) -> Result<bool> {
    let log = slurm::log(job);
    let mut output = Tail::of(&log)?;
    let id = cargo::output(Command::new("sbatch").arg("--parsable").arg(file))?;
    // A cluster's name follows behind a semicolon if there are several.
    let id = id.trim().split(';').next().unwrap_or_default();
    println!("job {id}: {}", job.summary());
    if wait {
        return until_end(id, &mut output);
    }
    println!("  follow it with    tail -F {log}");
    println!("  its state is      squeue --job {id}");
    println!("  save and requeue  scancel --signal=USR1 {id}");
    println!("  save and end      scancel --signal=INT {id}");
    Ok(true)
}

fn until_end(id: &str, output: &mut Tail<'_>) -> Result<bool> {
    let mut heard = Instant::now();
    loop {
        let state = state(id);
        output.print()?;
        match state {
            Some(state) if UNDER_WAY.contains(&state.as_str()) => heard = Instant::now(),
            Some(state) => {
                println!("job {id}: {state}");
                return Ok(state == "COMPLETED");
            }
            None => {
                ensure!(heard.elapsed() < PATIENCE, "job {id}: Slurm no longer tells its state");
            }
        }
        thread::sleep(PAUSE);
    }
}

/// The job's state, unless Slurm does not answer.
fn state(id: &str) -> Option<String> {
    let mut scontrol = Command::new("scontrol");
    let output = scontrol.args(["show", "job", "--oneliner", id]).stdin(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let state = text.split_whitespace().find_map(|word| word.strip_prefix("JobState="));
    state.map(str::to_owned)
}

/// The end of a file that grows.
struct Tail<'a> {
    path: &'a str,
    position: u64,
}

impl<'a> Tail<'a> {
    /// What will follow the present contents, if there are any.
    fn of(path: &'a str) -> Result<Self> {
        let position = match File::open(path) {
            Ok(file) => file.metadata()?.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context(path.to_owned()),
        };
        Ok(Self { path, position })
    }

    fn print(&mut self) -> Result<()> {
        // The file comes with the job's first line.
        let Ok(mut file) = File::open(self.path) else { return Ok(()) };
        let mut new = Vec::new();
        file.seek(SeekFrom::Start(self.position))?;
        self.position += file.read_to_end(&mut new)? as u64;
        io::stdout().write_all(&new)?;
        Ok(io::stdout().flush()?)
    }
}

/// States that another follows.
const UNDER_WAY: &[&str] = &[
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "STAGE_OUT",
    "RESIZING",
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
];
const PAUSE: Duration = Duration::from_secs(1);
/// A controller that starts again is away for less.
const PATIENCE: Duration = Duration::from_secs(120);
