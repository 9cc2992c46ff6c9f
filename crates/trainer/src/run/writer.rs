//! Checkpoints written beside training, by a thread of their own.

use std::{
    num::NonZeroUsize,
    panic::resume_unwind,
    path::PathBuf,
    thread::{Builder, JoinHandle},
};

use super::{
    checkpoint::{self, Checkpoint},
    error::{At, Result},
    metrics::MetricsWriter,
};

/// Writes checkpoints into a folder, one at a time, while others go on.
///
/// Whenever the process ends, what stands in the folder is whole: the checkpoint that is under way has no name yet, and
/// the ones before it stay until it has. Dropping the writer waits for it.
#[derive(Debug)]
pub struct CheckpointWriter {
    folder: PathBuf,
    keep: NonZeroUsize,
    under_way: Option<JoinHandle<Result<()>>>,
}

impl CheckpointWriter {
    /// Into `folder`, of which the last `keep` are kept.
    pub fn new(folder: PathBuf, keep: NonZeroUsize) -> Self {
        Self { folder, keep, under_way: None }
    }

    /// Begins to write what `make` makes, behind what was written before, for which it waits. `metrics` are synced
    /// first: a checkpoint must not outlive the lines that lead up to it.
    ///
    /// # Errors
    /// Those of the checkpoint before; what goes wrong with this one is told by the next call of any method.
    pub fn begin(
        &mut self,
        metrics: &MetricsWriter,
        make: impl FnOnce() -> Result<Checkpoint> + Send + 'static,
    ) -> Result<()> {
        self.finish()?;
        let (folder, keep, metrics) = (self.folder.clone(), self.keep, metrics.try_clone()?);
        let write = move || {
            let Checkpoint { step, metadata, tensors } = make()?;
            metrics.sync()?;
            checkpoint::save(&folder, step, &tensors, &metadata)?;
            checkpoint::keep_last(&folder, keep)
        };
        let thread = Builder::new().name("checkpoint".into()).spawn(write);
        self.under_way = Some(thread.at("start a thread that writes to", &self.folder)?);
        Ok(())
    }

    /// Waits for nothing, and tells of what has gone wrong so far.
    pub fn check(&mut self) -> Result<()> {
        match &self.under_way {
            Some(thread) if thread.is_finished() => self.finish(),
            _ => Ok(()),
        }
    }

    /// Whether a checkpoint is under way. If not, [`finish`](Self::finish) waits for nothing.
    pub fn is_writing(&self) -> bool {
        self.under_way.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until all is written.
    pub fn finish(&mut self) -> Result<()> {
        let Some(thread) = self.under_way.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        // Whoever wants to know of an error has asked before; a panic has told of itself.
        let _ = self.under_way.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests;
