//! The tokens of one micro-batch.

use crate::{Corpus, DataError};

/// `batch` rows of `context` tokens, row-major, and for each the token that follows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Tokens that the model reads.
    pub inputs: Vec<u32>,
    /// Tokens that it is to predict: the inputs shifted by one.
    pub targets: Vec<u32>,
    /// Rows.
    pub batch: usize,
    /// Tokens a row.
    pub context: usize,
}

impl Batch {
    /// A batch of zeros, with room for `batch * context` tokens.
    pub fn new(batch: usize, context: usize) -> Self {
        let zeros = vec![0; batch * context];
        Self { inputs: zeros.clone(), targets: zeros, batch, context }
    }

    /// Takes this shape, allocating only where the batch has never been so large, and fills row
    /// after row with the window that begins at `start` of the row.
    pub(crate) fn fill(
        &mut self,
        corpus: &Corpus,
        shape: [usize; 2],
        start: impl Fn(usize) -> usize,
    ) -> Result<(), DataError> {
        [self.batch, self.context] = shape;
        self.inputs.resize(self.batch * self.context, 0);
        self.targets.resize(self.batch * self.context, 0);
        for row in 0..self.batch {
            let cells = row * self.context..(row + 1) * self.context;
            corpus.read(start(row), &mut self.inputs[cells.clone()])?;
            corpus.read(start(row) + 1, &mut self.targets[cells])?;
        }
        Ok(())
    }
}
