//! The folder of one run, and who may write to it.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{At, Error, Result};
use super::{checkpoint, durable};

/// The folder of one run, locked against other processes for as long as this value lives.
///
/// The lock is the operating system's: it ends with the process, however that ends, so a killed
/// run never blocks its own resumption.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run and stores its resolved configuration.
    ///
    /// Refuses a folder that holds a run already, whatever is left of it.
    pub fn create(path: impl Into<PathBuf>, config: &str) -> Result<Self> {
        let folder = Self::lock(path.into())?;
        let traces = [folder.config(), folder.metrics()];
        let has_checkpoint = checkpoint::latest(&folder.checkpoints())?.is_some();
        if has_checkpoint || traces.iter().any(|trace| trace.exists()) {
            return Err(Error::RunExists { path: folder.path });
        }
        folder.write_config(config)?;
        Ok(folder)
    }

    /// Opens the folder of a run that was started before, with or without a checkpoint.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !Self::holds_run(&path) {
            return Err(Error::NoRun { path });
        }
        Self::lock(path)
    }

    /// Whether there is a run at `path`, whoever may write to it.
    pub fn holds_run(path: &Path) -> bool {
        path.join(CONFIG).is_file()
    }

    /// Replaces the stored configuration.
    pub fn write_config(&self, config: &str) -> Result<()> {
        durable::replace(&self.config(), |out| out.write_all(config.as_bytes()))
    }

    /// The folder itself; TensorBoard's event files lie directly in it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration, `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// The metrics, `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        Self::metrics_of(&self.path)
    }

    /// The metrics of the run at `path`, whoever may write to it.
    pub fn metrics_of(path: &Path) -> PathBuf {
        path.join("metrics.jsonl")
    }

    /// The folder of checkpoints, `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        Self::checkpoints_of(&self.path)
    }

    /// The folder of checkpoints of the run at `path`, whoever may write to it.
    pub fn checkpoints_of(path: &Path) -> PathBuf {
        path.join(CHECKPOINTS)
    }

    /// The report, `report.html`.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// Makes what is missing of the folders, and locks the run.
    fn lock(path: PathBuf) -> Result<Self> {
        let name = path.join(".lock");
        let checkpoints = path.join(CHECKPOINTS);
        fs::create_dir_all(&checkpoints).at("create", &checkpoints)?;
        let lock = File::create(&name).at("create", &name)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::RunLocked { path }),
            Err(TryLockError::Error(source)) => Err(source).at("lock", &name),
        }
    }
}

const CHECKPOINTS: &str = "checkpoints";
const CONFIG: &str = "config.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_never_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("runs/a");
        drop(RunFolder::create(&path, "seed = 1\n").unwrap());
        let again = RunFolder::create(&path, "seed = 2\n");
        assert!(matches!(again, Err(Error::RunExists { .. })), "{again:?}");
        let folder = RunFolder::resume(&path).unwrap();
        assert_eq!(fs::read_to_string(folder.config()).unwrap(), "seed = 1\n");
        assert!(folder.checkpoints().is_dir());
    }

    #[test]
    fn what_is_left_of_a_run_is_not_written_over() {
        for trace in ["config.toml", "metrics.jsonl", "checkpoints/step-000001.safetensors"] {
            let parent = tempfile::tempdir().unwrap();
            fs::create_dir(parent.path().join("checkpoints")).unwrap();
            fs::write(parent.path().join(trace), "precious").unwrap();
            let created = RunFolder::create(parent.path(), "");
            assert!(matches!(created, Err(Error::RunExists { .. })), "{trace}: {created:?}");
            assert_eq!(fs::read(parent.path().join(trace)).unwrap(), b"precious");
        }
    }

    #[test]
    fn only_a_run_can_be_resumed() {
        let parent = tempfile::tempdir().unwrap();
        let resumed = RunFolder::resume(parent.path());
        assert!(matches!(resumed, Err(Error::NoRun { .. })), "{resumed:?}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_writer_at_a_time_and_a_stale_lock_file_does_not_block() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(".lock"), "").unwrap();
        let first = RunFolder::create(parent.path(), "").unwrap();
        let second = RunFolder::resume(parent.path());
        assert!(matches!(second, Err(Error::RunLocked { .. })), "{second:?}");
        drop(first);
        RunFolder::resume(parent.path()).unwrap();
    }
}
