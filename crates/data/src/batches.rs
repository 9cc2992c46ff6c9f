//! The order in which the training split is read.

use crate::permutation::{Permutation, hash};
use crate::{Batch, Corpus, DataError, Split};
use std::{ops::Range, sync::Arc};

/// What decides the order and the shape of training batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Seed of the order.
    pub seed: u64,
    /// Rows of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step, over all ranks.
    pub micro_batches: usize,
    /// Tokens of a row.
    pub context: usize,
}

/// The training batches: a pure function of seed, step, micro-batch and row.
///
/// An epoch is cut into windows of `context + 1` tokens that overlap by one, so that each token is
/// a target at most once. It begins at an offset of its own, below `context`, so that the windows
/// of two epochs differ, and deals its windows in an order of its own; each comes exactly once.
/// Rows are numbered through micro-batches, steps and epochs: a step sees the same windows whether
/// it takes them as one batch of eight or as two micro-batches of four.
#[derive(Clone, Debug)]
pub struct Batches {
    corpus: Arc<Corpus>,
    tokens: Range<usize>,
    sampling: Sampling,
    windows: usize,
}

impl Batches {
    /// The batches of the training part of `split`.
    pub fn new(corpus: &Arc<Corpus>, split: &Split, sampling: Sampling) -> Result<Self, DataError> {
        if sampling.micro_batches == 0 {
            return Err(DataError::Zero { key: "data.micro_batches" });
        }
        let tokens = split.training.clone();
        let windows = windows(tokens.len(), sampling.context);
        check(corpus, "training", &tokens, windows, [sampling.batch, sampling.context])?;
        Ok(Self { corpus: corpus.clone(), tokens, sampling, windows })
    }

    /// Number of windows in an epoch.
    pub fn windows_per_epoch(&self) -> usize {
        self.windows
    }

    /// Position in the corpus of the first token of a row; `micro_batch` and `row` are below what
    /// [`Sampling`] says.
    pub fn start(&self, step: u64, micro_batch: usize, row: usize) -> usize {
        let Sampling { seed, batch, micro_batches, context } = self.sampling;
        // Wraps after 2^64 rows, which no run reaches.
        let rows = step.wrapping_mul(micro_batches as u64).wrapping_add(micro_batch as u64);
        let rows = rows.wrapping_mul(batch as u64).wrapping_add(row as u64);
        let windows = self.windows as u64;
        let (epoch, index) = (rows / windows, rows % windows);

        let window = Permutation::new(windows, seed, epoch).apply(index) as usize;
        let offset = hash(hash(seed, epoch), windows) % self.offsets() as u64;
        self.tokens.start + offset as usize + window * context
    }

    /// Writes a micro-batch into `batch`; allocates only where `batch` was never so large.
    pub fn fill(&self, step: u64, micro_batch: usize, batch: &mut Batch) -> Result<(), DataError> {
        let shape = [self.sampling.batch, self.sampling.context];
        batch.fill(&self.corpus, shape, |row| self.start(step, micro_batch, row))
    }

    /// Number of offsets at which an epoch may begin without crossing the split's end.
    fn offsets(&self) -> usize {
        let context = self.sampling.context;
        (self.tokens.len() - self.windows * context).min(context)
    }
}

/// Windows that fit behind every offset below `context`; one where only fewer offsets fit.
fn windows(tokens: usize, context: usize) -> usize {
    match tokens > context && context > 0 {
        true => ((tokens - context) / context).max(1),
        false => 0,
    }
}

/// Holds a batch's shape against the windows of a split, and the split against the corpus.
pub(crate) fn check(
    corpus: &Corpus,
    part: &'static str,
    split: &Range<usize>,
    windows: usize,
    [batch, context]: [usize; 2],
) -> Result<(), DataError> {
    let name = corpus.name().to_owned();
    let tokens = split.len();
    match () {
        _ if split.end > corpus.len() => {
            Err(DataError::SplitTooLong { part, end: split.end, name, tokens: corpus.len() })
        }
        _ if batch == 0 => Err(DataError::Zero { key: "data.batch" }),
        _ if context == 0 => Err(DataError::Zero { key: "context" }),
        _ if windows == 0 => Err(DataError::ContextTooLong { context, part, name, tokens }),
        _ if batch > windows => {
            Err(DataError::BatchTooLarge { batch, context, part, name, tokens, windows })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
