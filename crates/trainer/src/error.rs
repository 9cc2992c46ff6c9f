//! What can go wrong in a run.

use std::{path::PathBuf, time::Duration};

use fp8lm_device::Label;

use crate::{config::ConfigError, run};

/// The result of setting up or making a run.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The corpus is wrong, or does not fit the configuration.
    #[error(transparent)]
    Data(#[from] fp8lm_data::DataError),
    /// A rank that the plan has not, or a pipeline that cannot be.
    #[error(transparent)]
    Parallel(#[from] fp8lm_parallel::Error),
    /// The model or its device failed.
    #[error(transparent)]
    Model(#[from] fp8lm_model::Error),
    /// A file of the run could not be read or written.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A checkpoint was made under another configuration.
    #[error("{path}: {key} is {found} in the checkpoint and {expected} in this run")]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        key: String,
        /// Its value in this run.
        expected: String,
        /// Its value in the checkpoint.
        found: String,
    },
    /// A model that the device cannot hold.
    #[error(
        "the parameters, gradients and moments of this model take {needed} bytes, and {device} has {available}"
    )]
    TooLarge {
        /// The device.
        device: String,
        /// Bytes that the plan comes to.
        needed: u64,
        /// Bytes that the device has.
        available: u64,
    },
    /// The device holds something else than was planned.
    #[error("{label}: {planned} bytes were planned and {allocated} are allocated")]
    Unplanned {
        /// The row of the memory table.
        label: Label,
        /// Bytes of the plan.
        planned: u64,
        /// Bytes that are allocated.
        allocated: u64,
    },
    /// There are more or fewer ranks than were planned.
    #[error("{planned} ranks were planned and {present} are there")]
    Ranks {
        /// Ranks of the plan.
        planned: usize,
        /// Ranks that the device's link reaches, this one included.
        present: usize,
    },
    /// A run is started again with another number of data-parallel ranks.
    #[error(
        "{path} was trained on {was} data-parallel ranks and is started again on {now}: expected {was}, or \
         parallel.elastic = true"
    )]
    NotElastic {
        /// The run folder.
        path: PathBuf,
        /// Ranks that it had.
        was: usize,
        /// Ranks that it has now.
        now: usize,
    },
    /// A run is started again as another.
    #[error(
        "{path} has {key} = {was}, and is started again with {now}: expected the same; what resumes a run may change it"
    )]
    Changed {
        /// The run folder.
        path: PathBuf,
        /// What has changed.
        key: String,
        /// Its value in the run.
        was: String,
        /// Its value now.
        now: String,
    },
    /// A process of an earlier start still has the folder of a run that is started again.
    #[error("{path} was in use by another process for {waited:?}, and still is")]
    InUse {
        /// The run folder.
        path: PathBuf,
        /// How long the first rank has waited for it.
        waited: Duration,
    },
    /// What another rank told cannot be read.
    #[error("what a rank told of its casts: {0}")]
    Told(#[from] serde_json::Error),
    /// There is nothing to load.
    #[error("{path} holds no checkpoint")]
    NoCheckpoint {
        /// The run folder.
        path: PathBuf,
    },
    /// A prompt that cannot be continued.
    #[error("the prompt is empty: expected at least one token")]
    EmptyPrompt,
}

impl Error {
    /// Whether it may not come again when the same is tried once more. What a device or its link said is asked itself.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// What the device or its link said, if that is what went wrong.
    pub fn device(&self) -> Option<&fp8lm_device::Error> {
        match self {
            Self::Model(fp8lm_model::Error::Device(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<fp8lm_device::Error> for Error {
    fn from(error: fp8lm_device::Error) -> Self {
        Self::Model(error.into())
    }
}
