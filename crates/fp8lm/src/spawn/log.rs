//! What processes write to their standard streams: a log for each rank, and the first rank's on ours as well.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::Child,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::{environment::MPIRUN, verdict::Ended};

/// The folder of the logs.
#[derive(Debug)]
pub(super) struct Logs {
    folder: PathBuf,
}

impl Logs {
    /// The folder, made if need be.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let made = fs::create_dir_all(folder);
        made.map_err(|error| anyhow!("cannot make {}: {error}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The log of a process, to go on with where earlier starts have ended.
    pub(super) fn open(&self, name: &str, restarts: u32) -> Result<File> {
        let path = self.path(name);
        let log = File::options().create(true).append(true).open(&path);
        let begun = log.and_then(|mut log| {
            if restarts > 0 {
                writeln!(log, "--- restart {restarts} ---")?;
            }
            Ok(log)
        });
        begun.map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
    }

    /// Why a process ended, with the last that it said, unless that is on the terminal already.
    pub(super) fn explain(&self, ended: &Ended) -> String {
        let path = self.path(&ended.name);
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        if SHOWN.contains(&ended.name.as_str()) || lines.is_empty() {
            return ended.to_string();
        }
        let last = &lines[lines.len().saturating_sub(LAST)..];
        format!("{ended}; {} ends with:\n  {}", path.display(), last.join("\n  "))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name.replace(' ', "-") + ".log")
    }
}

/// Two threads that copy a process's output to its log and to our own streams, in whole lines.
#[derive(Debug)]
pub(super) struct Tee {
    /// Closed when both have ended.
    done: Receiver<()>,
}

impl Tee {
    /// Of a process that was started with pipes.
    pub(super) fn start(process: &mut Child, log: File) -> io::Result<Self> {
        let (sender, done) = mpsc::channel();
        if let Some(from) = process.stdout.take() {
            copy(from, log.try_clone()?, io::stdout(), sender.clone());
        }
        if let Some(from) = process.stderr.take() {
            copy(from, log, io::stderr(), sender);
        }
        Ok(Self { done })
    }

    /// Waits for what the process, which has ended, has left to read; shortly, for it may have handed on its streams to
    /// a process that stays.
    pub(super) fn finish(self) {
        let _ = self.done.recv_timeout(REST);
    }
}

fn copy(
    from: impl Read + Send + 'static,
    mut log: File,
    mut to: impl Write + Send + 'static,
    done: Sender<()>,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.by_ref().take(LONGEST).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            // A full disk, or nobody at our end, is no reason to stop the run.
            let _ = log.write_all(&line);
            let _ = to.write_all(&line).and_then(|()| to.flush());
            line.clear();
        }
        drop(done);
    });
}

/// Whose output is on the terminal already.
const SHOWN: [&str; 2] = ["rank 0", MPIRUN];
/// Lines of a log that are shown.
const LAST: usize = 10;
/// The most bytes that are kept to be written together.
const LONGEST: u64 = 1 << 16;
/// How long to wait for the rest of the output.
const REST: Duration = Duration::from_secs(1);
