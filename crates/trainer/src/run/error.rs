//! What can go wrong around a run, with the file that it concerns.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure around a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A new run was asked for in a folder that holds one.
    #[error("{path} already holds a run: resume it, or choose another folder")]
    RunExists {
        /// The run folder.
        path: PathBuf,
    },
    /// A run was to be resumed where there is none.
    #[error("{path} holds no run to resume: it has no config.toml")]
    NoRun {
        /// The run folder.
        path: PathBuf,
    },
    /// Another process writes this run.
    #[error("{path} is in use by another process")]
    RunLocked {
        /// The run folder.
        path: PathBuf,
    },
    /// A checkpoint ends early.
    #[error("checkpoint {path} is truncated: {found} bytes where {expected} are expected")]
    Truncated {
        /// The checkpoint.
        path: PathBuf,
        /// Bytes that its header announces.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A checkpoint goes on after its end.
    #[error("checkpoint {path} is damaged: {found} bytes where {expected} are expected")]
    TrailingBytes {
        /// The checkpoint.
        path: PathBuf,
        /// Bytes that its header announces.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A checkpoint's header (names, formats, shapes, metadata) is not what was written.
    #[error("checkpoint {path} is damaged: its header does not match its checksum")]
    HeaderMismatch {
        /// The checkpoint.
        path: PathBuf,
    },
    /// A tensor's bytes are not what was written.
    #[error("checkpoint {path} is damaged: tensor {tensor:?} does not match its checksum")]
    ChecksumMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// The file was not written by [`checkpoint::save`](super::checkpoint::save).
    #[error("{path} is not a checkpoint of this program")]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// A tensor or metadata key has a name that the checkpoint format needs for itself.
    #[error("{name:?} is reserved by the checkpoint format")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// Formats, shapes and byte counts of the tensors to save contradict each other.
    #[error("the tensors to save are inconsistent: {0}")]
    InconsistentTensors(#[from] safetensors::SafeTensorError),
    /// A whole line of a metrics file is not a record.
    #[error("{path}, line {line}: not a metrics record: {source}")]
    MetricsLine {
        /// The metrics file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether a checkpoint is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::TrailingBytes { .. }
                | Self::HeaderMismatch { .. }
                | Self::ChecksumMismatch { .. }
                | Self::NotACheckpoint { .. }
        )
    }
}

/// Adds what was tried, and on which path, to a system error.
pub(super) trait At<T> {
    /// The value, or the error `cannot {action} {path}`.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.to_owned(), source })
    }
}
