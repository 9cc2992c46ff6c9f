//! What surrounds a training run: its folder, checkpoints, metrics and report.
//!
//! Nothing here knows a device or a model. A [`RunFolder`] holds the resolved configuration, the
//! metrics (one JSON line a [`metrics::Record`], and TensorBoard event files), the checkpoints
//! (safetensors with checksums) and a self-contained HTML report. Whatever stands under its final
//! name is whole: files are written beside it, synced, and renamed.

pub mod checkpoint;
pub mod durable;
mod error;
mod folder;
pub mod metrics;
pub mod report;
pub mod tensorboard;
mod writer;

pub use error::{Error, Result};
pub use folder::RunFolder;
pub use writer::CheckpointWriter;
